"""Numbers and texts equal those of the reference implementations."""

import json
import os
from pathlib import Path

import numpy as np
import outcrop
import pytest

from conftest import DECODERS, FIXTURES, golden

GGUF = [("llama3", "Q8_0"), ("llama3_h256", "Q4_K_M")]


@pytest.mark.parametrize("name", DECODERS)
def test_logits_and_greedy_ids(session, name):
    model = session.model(FIXTURES / name)
    for prompt in golden(name)["prompts"]:
        logits = model.logits(prompt["ids"])
        assert logits.shape == (prompt["n"], model.info.vocabulary)
        assert logits.dtype == np.float32
        assert np.abs(logits[-1] - np.array(prompt["last_logits"])).max() <= 2e-3
        assert logits.argmax(axis=1).tolist() == prompt["argmax_all"]
        done = model.generate(prompt["ids"], max_tokens=32)
        assert done.ids == prompt["greedy"]
        assert (done.usage.input_tokens, done.usage.output_tokens) == (prompt["n"], 32)
        assert done.stop_reason == "max_tokens"


@pytest.mark.parametrize(("name", "quantization"), GGUF)
def test_gguf_is_as_near_as_llama_cpp(session, name, quantization):
    model = session.model(FIXTURES / name / f"model-{quantization}.gguf")
    for prompt in golden(name, "golden_gguf.json")["files"][quantization]["prompts"]:
        logits = model.logits(prompt["ids"])[-1]
        distance = np.abs(logits - np.array(prompt["dequant_f32_last_logits"])).max()
        assert distance <= 2 * prompt["llama_vs_dequant_max"]


@pytest.mark.parametrize("name", [*DECODERS, "bert_minilm", "bert_cross_encoder"])
def test_tokenizer(session, name):
    model = session.model(FIXTURES / name)
    for case in golden(name)["tokenizer"]:
        assert model.tokenize(case["text"]) == case["ids"]
        assert model.tokenize(case["text"], add_special=False) == case["ids_no_special"]
        assert model.detokenize(case["ids"]) == case["decoded"]
        assert model.detokenize(case["ids"], skip_special=False) == case["decoded_with_special"]


def test_chat_prompt(session):
    messages = [
        {"role": "user", "content": " Hi! "},
        {"role": "assistant", "content": [{"text": "Hello."}]},
        {"role": "user", "content": "2+2?"},
    ]
    llama, qwen = session.model(FIXTURES / "llama3"), session.model(FIXTURES / "qwen3")
    assert llama.chat_prompt("Hi!", system="Be brief.") == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert qwen.chat_prompt(messages) == (
        "<|im_start|>user\n Hi! <|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert qwen.chat_prompt("Hi!", add_generation_prompt=False) == (
        "<|im_start|>user\nHi!<|im_end|>\n"
    )


@pytest.mark.parametrize("name", DECODERS)
def test_chats_of_the_original_templates(session, name):
    folder = os.environ.get("OUTCROP_ORACLES")
    if not folder:
        pytest.skip("OUTCROP_ORACLES names no folder of models with their original templates")
    model = session.model(Path(folder) / name)
    for case in json.loads((Path(folder) / name / "golden.json").read_text())["chat"]:
        arguments = {
            "tools": case.get("tools"),
            "reasoning": case.get("enable_thinking"),
            "add_generation_prompt": case["add_generation_prompt"],
        }
        if "error" in case:
            with pytest.raises(outcrop.errors.ValidationException):
                model.chat_prompt(case["messages"], **arguments)
            continue
        day = {"date_string": "15 Jan 2026"} if "15 Jan 2026" in case["text"] else None
        prompt = model.chat_prompt(case["messages"], template_variables=day, **arguments)
        assert prompt == case["text"], case["name"]
        assert model.tokenize(prompt, add_special=False) == case["ids"], case["name"]


def test_encoder_vectors(embedder):
    cases = golden("bert_minilm")["texts"]
    vectors = embedder.embed([case["text"] for case in cases], truncate=True)
    expected = np.array([case["embedding"] for case in cases], dtype=np.float32)
    assert np.abs(vectors - expected).max() <= 1e-4


def test_cross_encoder_scores(cross_encoder):
    for case in golden("bert_cross_encoder")["pairs"]:
        (score,) = cross_encoder.rerank(case["query"], [case["document"]])
        assert abs(score - case["score"]) <= 1e-3


def test_minilm_vectors(minilm):
    cases = json.loads((FIXTURES / "minilm_golden.json").read_text())["texts"]
    vectors = minilm.embed([case["text"] for case in cases])
    for vector, case in zip(vectors, cases):
        assert float(vector @ np.array(case["embedding"], dtype=np.float32)) >= 0.99999
        assert minilm.tokenize(case["text"]) == case["ids"]
