"""llama.cpp as a process that times what it is told: the peer of the decoding benchmark.

usage: llama_peer.py MODEL.gguf THREADS

It says `ready`, then reads lines and answers each with seconds:
    prefill TOKENS            a prompt of so many tokens, until its last logits
    decode N CONTEXT STEPS    so many steps of N sequences at once, each from that context
The cache is F16 with flash attention left to llama.cpp, its own defaults.
"""

import ctypes
import sys
import time

import llama_cpp as llama


@llama.llama_log_callback
def quiet(_level, _text, _data):
    pass


class Peer:
    def __init__(self, path: str, threads: int) -> None:
        llama.llama_log_set(quiet, ctypes.c_void_p(0))
        llama.llama_backend_init()
        self.threads = threads
        self.model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")

    def context(self, tokens: int, sequences: int):
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = tokens, tokens, min(tokens, 512)
        params.n_seq_max, params.kv_unified = sequences, True
        params.n_threads = params.n_threads_batch = self.threads
        return llama.llama_init_from_model(self.model, params)

    def run(self, context, rows: list[tuple[int, int, int, bool]]) -> None:
        """Computes rows of (token, position, sequence, whether its logits are wanted)."""
        batch = llama.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        if llama.llama_decode(context, batch):
            raise SystemExit("llama_decode failed")
        llama.llama_synchronize(context)
        llama.llama_batch_free(batch)

    def prefill(self, tokens: int) -> float:
        context = self.context(tokens, 1)
        rows = [(300 + i % 5000, i, 0, i == tokens - 1) for i in range(tokens)]
        started = time.perf_counter()
        self.run(context, rows)
        seconds = time.perf_counter() - started
        llama.llama_free(context)
        return seconds

    def decode(self, sequences: int, past: int, steps: int) -> float:
        context = self.context(sequences * (past + steps + 1), sequences)
        for s in range(sequences):
            self.run(context, [(300 + i + s, i, s, i == past - 1) for i in range(past)])
        self.run(context, [(300 + s, past, s, True) for s in range(sequences)])
        started = time.perf_counter()
        for step in range(1, steps + 1):
            self.run(context, [(300 + step + s, past + step, s, True) for s in range(sequences)])
        seconds = time.perf_counter() - started
        llama.llama_free(context)
        return seconds


def main() -> None:
    peer = Peer(sys.argv[1], int(sys.argv[2]))
    print("ready", flush=True)
    for line in sys.stdin:
        name, *numbers = line.split()
        print(getattr(peer, name)(*map(int, numbers)), flush=True)


if __name__ == "__main__":
    main()
