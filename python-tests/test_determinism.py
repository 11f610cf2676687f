"""The same input and seed give the same bytes, whatever runs beside."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

WORDS = "the river froze in January and the ferry stopped until the ice broke in March".split()
TEXTS = [" ".join(WORDS[: 1 + n % len(WORDS)]) + f" {n}" for n in range(64)]


def test_a_batch_equals_single_calls(embedder):
    batch = embedder.embed(TEXTS)
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    assert batch.tobytes() == alone.tobytes()
    assert embedder.embed(TEXTS[3]).tobytes() == batch[3].tobytes()


def test_minilm_batch_equals_single_calls(minilm):
    batch = minilm.embed(TEXTS)
    alone = np.concatenate([minilm.embed([text]) for text in TEXTS])
    assert batch.tobytes() == alone.tobytes()


def test_rerank_batch_equals_single_calls(cross_encoder):
    batch = cross_encoder.rerank("ice", TEXTS[:16])
    alone = np.concatenate([cross_encoder.rerank("ice", [text]) for text in TEXTS[:16]])
    assert batch.shape == (16,)
    assert batch.tobytes() == alone.tobytes()


def test_one_thread_equals_two(run_python):
    program = """
import hashlib, json, os, outcrop
session = outcrop.Session(offline=True)
vectors = session.model(os.environ["FIXTURES"] + "/bert_minilm").embed(["a river", "b " * 50, "c"])
llama = session.model(os.environ["FIXTURES"] + "/llama3")
logits = llama.logits(list(range(100)))
ids = llama.generate("The river", max_tokens=24, temperature=0.9, seed=5).ids
print(json.dumps([hashlib.sha256(a.tobytes()).hexdigest() for a in (vectors, logits)] + ids))
"""
    one = run_python(program, env={"OUTCROP_THREADS": "1"})
    two = run_python(program, env={"OUTCROP_THREADS": "2"})
    assert one == two


def test_eight_threads_equal_eight_alone(llama):
    def generate(n):
        return llama.generate(TEXTS[n * 7], max_tokens=40, temperature=0.8, top_k=50, seed=n).ids

    alone = [generate(n) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(generate, range(8)))
    assert together == alone
    assert len({tuple(ids) for ids in alone}) > 1


def test_the_seed_decides(llama):
    ids = [llama.generate("Rain", 30, 1.5, seed=seed).ids for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_memory_is_the_engines(embedder, llama):
    for array in (embedder.embed(TEXTS[:4]), llama.logits([1, 2, 3])):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous and array.flags.writeable
        assert not array.flags.owndata  # its base is the engine's own buffer
        assert type(array.base).__module__ != "numpy"
