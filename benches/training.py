"""Training tokens a second, beside PyTorch on the CPU.

usage: training.py [SHAPE ...]      default: llama-5m llama-25m

One step is forward, backward, clipping and AdamW of all weights, of 8 sequences of 256 tokens, in F32
on two threads; all take turns in one run. `bfloat16` is Outcrop with products of that precision.
`memory_ratio` is PyTorch's largest memory, its libraries included, by Outcrop's.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SEQUENCES, TOKENS, THREADS, SECONDS = 8, 256, 2, 25
LLAMA = {
    "model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "max_position_embeddings": 1024, "tie_word_embeddings": True, "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
SHAPES = {
    "llama-5m": {**LLAMA, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6,
                 "vocab_size": 4096},
    "llama-25m": {**LLAMA, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 7,
                  "vocab_size": 8192},
}


class Side:
    """A process that makes a step for each line that it is given."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            last = self.process.stderr.read().strip().splitlines()[-1:]
            raise RuntimeError(last[0] if last else f"ended with {self.process.wait()}")
        self.seconds: list[float] = []
        self.memory = 0

    def step(self) -> None:
        print("step", file=self.process.stdin, flush=True)
        seconds, _, self.memory = map(float, self.process.stdout.readline().split())
        self.seconds.append(seconds)

    def end(self) -> float:
        self.process.stdin.close()
        self.process.wait()
        return statistics.median(self.seconds[1:])


def measure(name: str, binary: Path) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(SHAPES[name]), encoding="utf-8")
        arguments = [str(config), *map(str, (SEQUENCES, TOKENS, THREADS))]
        line = {"bench": "training", "shape": name, "unit": "tokens/s"}
        ours = Side([str(binary), *arguments])
        rounded = Side([str(binary), *arguments, "bfloat16"])
        try:
            theirs = Side([sys.executable, str(HERE / "torch_training_peer.py"), *arguments])
        except RuntimeError as error:
            return {**line, "peer_error": str(error)}
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or len(ours.seconds) < 4:
            for side in (ours, rounded, theirs):
                side.step()
                # A peer that spins while it waits for more work must not do so in the other's time.
                time.sleep(0.1)
        mine, fast, peer = ours.end(), rounded.end(), theirs.end()
        tokens = SEQUENCES * TOKENS
        return {**line, "outcrop": round(tokens / mine), "torch": round(tokens / peer),
                "ratio": round(peer / mine, 3), "bfloat16": round(tokens / fast),
                "bfloat16_ratio": round(peer / fast, 3), "outcrop_mb": ours.memory, "torch_mb": theirs.memory,
                "memory_ratio": round(theirs.memory / ours.memory, 2),
                "repetitions": len(ours.seconds) - 1}


def main() -> int:
    example = ["cargo", "build", "--release", "--quiet", "-p", "outcrop-training", "--example",
               "train_bench"]
    subprocess.run(example, cwd=ROOT, check=True)
    binary = ROOT / "target" / "release" / "examples" / "train_bench"
    for name in sys.argv[1:] or SHAPES:
        print(json.dumps(measure(name, binary)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
