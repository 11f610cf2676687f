//! Log-probabilities, of given texts and beside generated tokens, against golden models.

use outcrop_api::{
    ChatModel, ConverseRequest, ErrorKind, InferenceConfig, Message, PerplexityOptions, Prompt,
    Role, StreamEvent,
};
use outcrop_inference::{Engine, EngineOptions};

use crate::golden::{DECODERS, engine, greedy, ids, json, numbers, on_threads};

/// The log-probability of `token` by a softmax in F64.
fn logprob(row: &[f32], token: u32) -> f32 {
    let max = row.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = row.iter().map(|l| f64::from(l - max).exp()).sum();
    (f64::from(row[token as usize]) - f64::from(max) - sum.ln()) as f32
}

async fn score(engine: &Engine, prompt: &[u32], continuation: &[u32]) -> Vec<f32> {
    let (prompt, continuation) = (prompt.to_vec(), continuation.to_vec());
    engine
        .score(&Prompt::Ids(prompt), &Prompt::Ids(continuation), None)
        .await
        .unwrap()
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-5 * b.abs().max(1.0)
}

#[tokio::test]
async fn scores_are_the_golden_ones_and_the_softmax_of_the_logits() {
    for name in DECODERS {
        let engine = engine(name, EngineOptions::default());
        let vocab = engine.info().vocabulary.unwrap();
        for prompt in json(&format!("{name}/golden.json"))["prompts"]
            .as_array()
            .unwrap()
        {
            let tokens = ids(&prompt["ids"]);
            let whole = score(&engine, &tokens[..1], &tokens[1..]).await;
            let golden = numbers(&prompt["nll_per_token"]);
            assert_eq!(whole.len(), golden.len());
            let logits = engine.logits(&tokens).await.unwrap();
            let rows = logits.chunks_exact(vocab).zip(&tokens[1..]);
            for (at, (row, &token)) in rows.enumerate() {
                assert!((whole[at] + golden[at]).abs() <= 4e-3, "{name} token {at}");
                assert!(close(whole[at], logprob(row, token)), "{name} token {at}");
            }
            // Wherever the continuation starts, its tokens are as likely.
            for first in [2, 17, tokens.len() - 1] {
                let tail = score(&engine, &tokens[..first], &tokens[first..]).await;
                assert_eq!(tail, whole[first - 1..], "{name} from {first}");
            }
        }
    }
}

#[tokio::test]
async fn two_texts_are_scored_as_the_tokens_of_one() {
    let engine = engine("llama3", EngineOptions::default());
    let (prompt, continuation) = ("The lighthouse keeper wr", "ote down the weather");
    let tokenizer = engine.tokenizer();
    let before = tokenizer.encode(prompt, true).unwrap();
    let both = tokenizer
        .encode(&format!("{prompt}{continuation}"), true)
        .unwrap();
    let same = both.iter().zip(&before).take_while(|(a, b)| a == b).count();
    let scored = engine
        .score(
            &Prompt::Text(prompt.into()),
            &Prompt::Text(continuation.into()),
            None,
        )
        .await
        .unwrap();
    assert_eq!(scored, score(&engine, &both[..same], &both[same..]).await);
    let mixed = engine
        .score(
            &Prompt::Ids(before.clone()),
            &Prompt::Text(continuation.into()),
            None,
        )
        .await
        .unwrap();
    let after = tokenizer.encode(continuation, false).unwrap();
    assert_eq!(mixed, score(&engine, &before, &after).await);
}

#[tokio::test]
async fn neighbours_and_threads_change_no_score() {
    let tokens: Vec<u32> = (0..150).map(|i| i * 31 % 500).collect();
    let alone = score(
        &engine("qwen3", on_threads(1)),
        &tokens[..70],
        &tokens[70..],
    )
    .await;
    assert_eq!(alone.len(), 80);
    let options = EngineOptions {
        step_tokens: 23,
        ..on_threads(2)
    };
    let engine = engine("qwen3", options);
    let beside = tokio::spawn({
        let engine = engine.clone();
        async move { engine.generate(greedy(vec![7; 40], 60)).await.unwrap() }
    });
    assert_eq!(score(&engine, &tokens[..70], &tokens[70..]).await, alone);
    beside.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_scored_is_an_error_with_its_numbers() {
    let options = EngineOptions {
        context_length: Some(50),
        ..EngineOptions::default()
    };
    let engine = engine("llama3", options);
    let text = |text: &str| Prompt::Text(text.to_owned());
    for (prompt, continuation, expected) in [
        (
            Prompt::Ids(vec![]),
            Prompt::Ids(vec![1]),
            "prompt: expected at least 1 token before the continuation, got 0",
        ),
        (
            Prompt::Ids(vec![1]),
            Prompt::Ids(vec![]),
            "continuation: expected at least 1 token, got 0",
        ),
        (
            text("a"),
            text(""),
            "continuation: expected at least 1 token, got 0",
        ),
        (
            Prompt::Ids(vec![1]),
            Prompt::Ids(vec![2, 544]),
            "prompt and continuation[2]: expected a token id below 544, got 544",
        ),
        (
            Prompt::Ids(vec![1; 40]),
            Prompt::Ids(vec![1; 11]),
            "prompt and continuation: expected at most 50 tokens, the context's length, got 51",
        ),
    ] {
        let error = engine
            .score(&prompt, &continuation, None)
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::ValidationException, expected)
        );
    }
    assert_eq!(score(&engine, &[1; 40], &[1; 10]).await.len(), 10);
    let long = "one two three ".repeat(40);
    let count = engine.tokenizer().encode(&long, true).unwrap().len();
    let with = |window, stride| PerplexityOptions {
        window,
        stride,
        ..PerplexityOptions::default()
    };
    for (texts, options, expected) in [
        (
            vec![],
            with(None, None),
            "texts: expected at least 1, got 0".to_owned(),
        ),
        (
            vec!["ok".into(), String::new()],
            with(None, None),
            "texts[1]: expected at least 2 tokens, got 1".to_owned(),
        ),
        (
            vec![long.clone()],
            with(None, None),
            format!(
                "texts[0]: expected at most 50 tokens, the window's length, got {count}; give a stride to move the window over it"
            ),
        ),
        (
            vec![long.clone()],
            with(Some(51), None),
            "window: expected 2..=50, the context's length, got 51".to_owned(),
        ),
        (
            vec![long],
            with(Some(20), Some(21)),
            "stride: expected 1..=20, the window's length, got 21".to_owned(),
        ),
    ] {
        let error = engine.perplexity(&texts, &options).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::ValidationException, &expected[..])
        );
    }
}

#[tokio::test]
async fn perplexity_is_the_mean_surprise_by_text_and_by_token() {
    let engine = engine("qwen3", EngineOptions::default());
    let texts: Vec<String> = (1..9)
        .map(|n| "the rain came before noon, ".repeat(n))
        .collect();
    let found = engine
        .perplexity(&texts, &PerplexityOptions::default())
        .await
        .unwrap();
    let (mut tokens, mut nll) = (0, 0.0);
    for (text, found) in texts.iter().zip(&found.texts) {
        let ids = engine.tokenizer().encode(text, true).unwrap();
        let expected = score(&engine, &ids[..1], &ids[1..]).await;
        let sum = -expected.iter().map(|l| f64::from(*l)).sum::<f64>();
        assert_eq!((found.tokens, found.nll), (ids.len() - 1, sum));
        assert!((found.perplexity - (sum / expected.len() as f64).exp()).abs() < 1e-9);
        tokens += expected.len();
        nll += sum;
    }
    assert_eq!(found.overall.tokens, tokens);
    assert!((found.overall.perplexity - (nll / tokens as f64).exp()).abs() < 1e-9);
}

#[tokio::test]
async fn a_window_moves_over_a_long_text_and_scores_each_token_once() {
    let engine = engine("llama3", EngineOptions::default());
    let text = "one two three ".repeat(40);
    let tokens = engine.tokenizer().encode(&text, true).unwrap();
    for (window, stride) in [(50, 20), (50, 50), (7, 1)] {
        let options = PerplexityOptions {
            window: Some(window),
            stride: Some(stride),
            ..PerplexityOptions::default()
        };
        let found = engine
            .perplexity(std::slice::from_ref(&text), &options)
            .await
            .unwrap();
        // The loop of Hugging Face's guide, each window's own tokens behind those seen before.
        let (mut begin, mut end, mut count, mut nll) = (0, 0, 0, 0.0);
        while end < tokens.len() {
            let before = end;
            end = (begin + window).min(tokens.len());
            let first = (before - begin).max(1);
            if begin + first < end {
                let scored = score(
                    &engine,
                    &tokens[begin..begin + first],
                    &tokens[begin + first..end],
                )
                .await;
                count += scored.len();
                nll -= scored.iter().map(|l| f64::from(*l)).sum::<f64>();
            }
            begin += stride;
        }
        assert_eq!(found.overall.tokens, count, "{window} {stride}");
        assert!((found.overall.nll - nll).abs() < 1e-9, "{window} {stride}");
        if stride < window {
            assert_eq!(count, tokens.len() - 1);
        }
    }
}

#[tokio::test]
async fn logprobs_are_the_models_own_whatever_the_sampler_does() {
    let engine = engine("llama3", EngineOptions::default());
    let vocab = engine.info().vocabulary.unwrap();
    let mut request = greedy(vec![5, 9, 100], 25);
    request.inference_config.temperature = Some(1.7);
    request.inference_config.top_k = Some(40);
    request.inference_config.repetition_penalty = Some(1.3);
    let silent = engine.generate(request.clone()).await.unwrap();
    assert!(silent.logprobs.is_empty());
    request.inference_config.logprobs = Some(4);
    let told = engine.generate(request).await.unwrap();
    assert_eq!((&told.ids, &told.text), (&silent.ids, &silent.text));
    let mut all = vec![5, 9, 100];
    all.extend(&told.ids);
    let logits = engine.logits(&all).await.unwrap();
    assert_eq!(told.logprobs.len(), told.ids.len());
    for (row, found) in logits.chunks_exact(vocab).skip(2).zip(&told.logprobs) {
        assert!(close(found.logprob, logprob(row, found.id)));
        let mut best: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        assert_eq!(found.top.len(), 4);
        for ((id, top), (expected, _)) in found.top.iter().zip(&best) {
            assert_eq!(id, expected);
            assert!(close(*top, logprob(row, *id)));
        }
    }
    let ids: Vec<u32> = told.logprobs.iter().map(|l| l.id).collect();
    assert_eq!(ids, told.ids);
}

#[tokio::test]
async fn a_stream_and_a_reply_carry_the_logprobs_that_were_asked_for() {
    let engine = engine("qwen3", EngineOptions::default());
    let mut request = greedy(vec![5, 9, 100], 12);
    request.inference_config.logprobs = Some(0);
    let mut stream = engine.generate_stream(request.clone()).await.unwrap();
    let (mut ids, mut told) = (Vec::new(), Vec::new());
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            StreamEvent::Ids(more) => ids.extend(more),
            StreamEvent::Logprobs(more) => told.extend(more),
            _ => {}
        }
    }
    assert_eq!(told.iter().map(|l| l.id).collect::<Vec<_>>(), ids);
    assert!(told.iter().all(|l| l.top.is_empty() && l.logprob <= 0.0));
    assert_eq!(engine.generate(request).await.unwrap().logprobs, told);
    let chat = |logprobs| ConverseRequest {
        messages: vec![Message::text(Role::User, "Hi")],
        inference_config: InferenceConfig {
            max_tokens: Some(7),
            logprobs,
            ..InferenceConfig::default()
        },
        ..ConverseRequest::default()
    };
    let reply = engine.converse(chat(Some(20))).await.unwrap();
    assert_eq!(reply.logprobs.len(), reply.usage.output_tokens);
    assert!(reply.logprobs.iter().all(|l| l.top.len() == 20));
    let error = engine.converse(chat(Some(21))).await.unwrap_err();
    assert_eq!(error.message(), "logprobs: expected 0 to 20, got 21");
}
