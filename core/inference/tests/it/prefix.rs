//! Held prefixes: forked, saved, brought back, and bounded by the budget.

use outcrop_api::ErrorKind;
use outcrop_inference::{Engine, EngineOptions, KvDtype};

use crate::golden::{engine, fixture, greedy, on_threads};

fn text(tokens: u32) -> Vec<u32> {
    (0..tokens).map(|i| (i * i + 7) % 500).collect()
}

fn of(tokens: usize) -> EngineOptions {
    EngineOptions {
        kv_tokens: Some(tokens),
        ..on_threads(1)
    }
}

async fn read(engine: &Engine, prompt: Vec<u32>) -> (Vec<u32>, usize) {
    let completion = engine.generate(greedy(prompt, 12)).await.unwrap();
    (completion.ids, completion.usage.cache_read_input_tokens)
}

#[tokio::test]
async fn a_held_prefix_outlives_what_would_drive_it_out_and_forks_share_it() {
    let (wide, narrow) = (engine("llama3", on_threads(1)), engine("llama3", of(320)));
    let held = narrow.prefix(&text(100)).await.unwrap();
    let fork = held.fork(&[9, 9, 9]).await.unwrap();
    assert_eq!(fork.ids().len(), 103);
    // Three whole pages are shared; the last one was copied.
    assert_eq!(narrow.statistics().unwrap().pinned_pages, 5);
    for kind in 0..4 {
        narrow.generate(greedy(vec![kind; 150], 10)).await.unwrap();
    }
    for own in [vec![1, 2], vec![9, 9, 9, 4]] {
        let prompt = [text(100), own.clone()].concat();
        let expected = read(&wide, prompt.clone()).await.0;
        let known = if own.len() == 2 { 100 } else { 103 };
        assert_eq!(read(&narrow, prompt).await, (expected, known));
    }
    drop((held, fork));
    narrow.generate(greedy(vec![5; 4], 1)).await.unwrap();
    assert_eq!(narrow.statistics().unwrap().pinned_pages, 0);
}

#[tokio::test]
async fn more_than_the_budget_holds_is_an_error_with_the_numbers() {
    let engine = engine("llama3", of(256));
    let held = engine.prefix(&text(128)).await.unwrap();
    let second = engine.prefix(&[7; 150]).await.err().unwrap();
    assert_eq!(second.kind(), ErrorKind::ServiceQuotaExceededException);
    assert!(second.message().contains("got 128"), "{second}");
    let long = engine.generate(greedy(vec![7; 150], 9)).await.unwrap_err();
    assert_eq!(long.kind(), ErrorKind::ServiceQuotaExceededException);
    assert!(long.message().contains("room for 160 tokens"), "{long}");
    // Behind the prefix itself there is room, and elsewhere once it has gone.
    let behind = [text(128), vec![3; 40]].concat();
    assert_eq!(read(&engine, behind).await.1, 128);
    drop(held);
    engine.generate(greedy(vec![7; 150], 9)).await.unwrap();
}

#[tokio::test]
async fn a_saved_prefix_comes_back_to_the_same_model_only() {
    for kv_dtype in [KvDtype::F32, KvDtype::F16, KvDtype::Q8_0] {
        let options = EngineOptions {
            kv_dtype,
            ..on_threads(1)
        };
        let first = engine("llama3_h256", options.clone());
        let saved = first.prefix(&text(75)).await.unwrap().save().await.unwrap();
        let prompt = [text(75), vec![4, 5]].concat();
        let expected = read(&first, prompt.clone()).await.0;
        let second = engine("llama3_h256", options.clone());
        let held = second.restore(&saved).await.unwrap();
        assert_eq!(held.ids(), text(75));
        assert_eq!(read(&second, prompt).await, (expected, 75));
        assert_eq!(held.save().await.unwrap(), saved);

        let quantised = fixture("llama3_h256/model-Q4_K_M.gguf");
        let other = Engine::load(&quantised, "other", options).unwrap();
        let error = other.restore(&saved).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConflictException);
        assert!(error.message().contains(kv_dtype.name()), "{error}");
        for damaged in [&saved[1..], &saved[..saved.len() - 1], &saved[..30], b""] {
            let error = second.restore(damaged).await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::ValidationException, "{error}");
        }
    }
}
