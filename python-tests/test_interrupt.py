"""Ctrl-C comes back at once, and blocking calls release the GIL."""

import threading
import time

import pytest

PROGRAM = """
import json, os, signal, sys, threading, time
import outcrop

# A test run that was started in the background may have Ctrl-C switched off.
signal.signal(signal.SIGINT, signal.default_int_handler)

session = outcrop.Session(offline=True)
embedder = session.model(os.environ["FIXTURES"] + "/bert_minilm")
llama = session.model(os.environ["FIXTURES"] + "/llama3")
kb = session.create_knowledge_base("many", embedding_model=os.environ["FIXTURES"] + "/bert_minilm")
many = [f"text number {n} of a long list of texts" for n in range(20_000)]

def embed(): embedder.embed(many)
def generate():
    while True: llama.generate("Hi", max_tokens=1_900)
def stream():
    while True:
        for _ in llama.stream("Hi", max_tokens=1_900): pass
def add(): kb.add(many)

took = []
for n in range(3):
    sent = []
    def interrupt():
        time.sleep(0.3 + 0.01 * n)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    try:
        globals()[sys.argv[1]]()
        raise SystemExit("the call ended before the signal")
    except KeyboardInterrupt:
        took.append(time.perf_counter() - sent[0])
assert embedder.embed("again").shape == (1, 64)
print(json.dumps(took))
"""


@pytest.mark.parametrize("call", ["embed", "generate", "stream", "add"])
def test_ctrl_c(run_python, call):
    took = run_python(PROGRAM, call)
    # The promise is 100 ms. The median of three keeps another process's burst out of the figure.
    assert sorted(took)[1] < 0.1, took


@pytest.mark.parametrize("call", ["embed", "generate"])
def test_the_gil_is_released(embedder, llama, call):
    many = [f"text number {n} of a long list of texts" for n in range(3_000)]
    calls = {
        "embed": lambda: embedder.embed(many),
        "generate": lambda: [llama.generate("Hi", max_tokens=500) for _ in range(3)],
    }
    work = threading.Thread(target=calls[call])
    work.start()
    gaps, last, started = [], time.perf_counter(), time.perf_counter()
    while work.is_alive():
        time.sleep(0.002)
        gaps.append(time.perf_counter() - last)
        last = time.perf_counter()
    took = time.perf_counter() - started
    assert max(gaps) < max(0.05, took / 2), (max(gaps), took)
