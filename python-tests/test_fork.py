"""Use after `fork`, as a server that loads first and forks its workers does."""

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on this system")

PRELOAD = """
import json, os, sys
import outcrop

# The master loads and uses the model, and then forks its workers.
fixtures = os.environ["FIXTURES"]
session = outcrop.Session(offline=True)
embedder, llama = session.model(fixtures + "/bert_minilm"), session.model(fixtures + "/llama3")
kb = session.create_knowledge_base("notes", embedding_model=fixtures + "/bert_minilm")
kb.add([outcrop.Document(text="The river froze in January.", id="river")])
expected = embedder.embed(["a river"]).tobytes(), llama.generate("Hi", max_tokens=5).ids
stream = llama.stream("Hi", max_tokens=400)

def work(worker):
    os.environ["OUTCROP_HOME"] = "/nonexistent"
    os.chdir("/")
    assert embedder.embed(["a river"]).tobytes() == expected[0]
    assert llama.generate("Hi", max_tokens=5).ids == expected[1]
    assert kb.retrieve("The river froze in January.", k=1)[0].location.document == "river"
    try:
        next(stream)
        list(stream)
        raise SystemExit("the parent's stream went on in the child")
    except outcrop.errors.ValidationException as error:
        assert "fork" in str(error), error
    with outcrop.Session(home=session.home, offline=True) as own:
        assert own.model(fixtures + "/llama3").generate("Hi", max_tokens=5).ids == expected[1]
    session.close()

children = []
for worker in range(2):
    pid = os.fork()
    if pid == 0:
        try:
            work(worker)
            # Leave as a worker does: objects of the parent are torn down here too.
            sys.exit(0)
        except Exception:
            import traceback
            traceback.print_exc()
            os._exit(1)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
assert len("".join(stream)) > 0
assert embedder.embed(["a river"]).tobytes() == expected[0]
print(json.dumps(codes))
"""


def test_workers_of_a_preloading_server(run_python):
    assert run_python(PRELOAD) == [0, 0]


MULTIPROCESSING = """
import json, multiprocessing, os
import outcrop

session = outcrop.Session(offline=True)
embedder = session.model(os.environ["FIXTURES"] + "/bert_minilm")

def work(text):
    return float(embedder.embed([text])[0, 0])

if __name__ == "__main__":
    here = [work(text) for text in "abcd"]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        there = pool.map(work, "abcd")
    print(json.dumps([here, there]))
"""


def test_multiprocessing(run_python):
    here, there = run_python(MULTIPROCESSING)
    assert here == there


BUSY = """
import json, os, threading, time
import outcrop

fixtures = os.environ["FIXTURES"]
session = outcrop.Session(offline=True)
embedder, llama = session.model(fixtures + "/bert_minilm"), session.model(fixtures + "/llama3")
many = [f"text {n} of many" for n in range(300)]
ended = threading.Event()

def busy():
    while not ended.is_set():
        llama.generate("Hi", max_tokens=100)
        embedder.embed(many)

threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
codes = []
for _ in range(6):
    time.sleep(0.05)
    pid = os.fork()
    if pid == 0:
        llama.generate("Hi", max_tokens=5)
        os._exit(0 if embedder.embed("a").shape == (1, 64) else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
ended.set()
for thread in threads:
    thread.join()
print(json.dumps(codes))
"""


def test_fork_while_threads_compute(run_python):
    assert run_python(BUSY) == [0] * 6
