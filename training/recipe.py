"""Makes outcrop.tiny-v1 from nothing: `make tiny`, or `python training/recipe.py`.

Stages: the tokenizer; `echo` and `copy`, lines in which words come again, so that copying is learned first; `match`,
`find` and `point`, which sentence a word or a question is of, from two words to whole passages: without them no choice
among sentences was learned in four times their tokens; `dense`, several questions on the same passages and tools;
`mixed`, everything up to its full length; `decay`, the same with a falling learning rate; one quantised file. What is
done is not done again: killed and called again it goes on where it was, in the middle of a stage too. The same
arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import mixture
import to_gguf
import tokenizer
from render import Renderer

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parent / "core" / "models" / "weights" / "outcrop.tiny-v1.gguf"
VOCABULARY = 3136
CONTEXT = 2048
# Tokens of a conversation, on the average.
LENGTH = {"echo": 55, "copy": 100, "match": 177, "find": 261, "point": 400, "dense": 410, "mixed": 340}
# Hidden size, width of the MLP, layers, heads.
SIZES = {"3M": (192, 512, 6, 6), "6M": (256, 768, 6, 8), "12M": (320, 896, 9, 10)}
# Part of all tokens, mixture, seed, conversations of a step, decay.
STAGES = {
    "echo": (0.06, "echo", 41, 24, "constant"),
    "copy": (0.08, "copy", 51, 14, "constant"),
    "match": (0.06, "match", 61, 12, "constant"),
    "find": (0.08, "find", 71, 12, "constant"),
    "point": (0.16, "point", 81, 10, "constant"),
    "dense": (0.22, "dense", 401, 10, "constant"),
    "mixed": (0.14, "mixed", 601, 12, "constant"),
    "decay": (0.20, "mixed", 611, 12, "linear"),
}
LEARNING_RATE = 2e-3


def say(text: str) -> None:
    print(f"== {text}", flush=True)


def write_config(path: Path, size: str) -> None:
    hidden, width, layers, heads = SIZES[size]
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": hidden,
        "intermediate_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads,
        "head_dim": hidden // heads, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0,
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "eos_token_id": 0,
        "torch_dtype": "float32",
    }  # fmt: skip
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def make_tokenizer(folder: Path) -> None:
    if (folder / "chat_template.jinja").exists():
        return
    say("tokenizer")
    render = Renderer()
    tokenizer.train((render(line) for line in mixture.lines(mixture.full, 11, 6_000)), VOCABULARY, folder)


def train(work: Path, name: str, before: str | None, given: argparse.Namespace) -> None:
    """Runs one stage of the trainer, or what is left of it."""
    out = work / name
    if (out / "model.safetensors").exists():
        return
    part, mixed, seed, batch, decay = STAGES[name]
    count = max(64, int(given.tokens * part / LENGTH[mixed]))
    data, validation = work / f"{name}.jsonl", work / f"{name}.validation.jsonl"
    say(f"{name}: {count:,} conversations")
    for path, number, of, held_out in ((data, seed, count, False), (validation, seed + 1, 150, True)):
        if not path.exists():
            mixture.write(path, getattr(mixture, mixed), number, of, held_out)
    stage = {
        "config": str(work / "config.json"), "tokenizer": str(work / "tokenizer"), "data": str(data), "validation": str(validation),
        "out": str(out), "from": str(work / before) if before else None, "threads": given.threads, "max_tokens": CONTEXT,
        "options": {
            "epochs": 1, "batch_size": batch, "learning_rate": LEARNING_RATE, "warmup_steps": 50, "decay": decay, "weight_decay": 0.02,
            "max_gradient_norm": 1.0, "seed": 7, "pass_tokens": 2048, "evaluate_every": 250, "precision": given.precision,
        },
    }  # fmt: skip
    told = work / f"{name}.json"
    told.write_text(json.dumps(stage, indent=2) + "\n", encoding="utf-8")
    command = ["cargo", "run", "--release", "--quiet", "-p", "outcrop-training", "--example", "train_from_scratch", "--", str(told)]
    subprocess.run(command, check=True, cwd=HERE.parent)
    (out / "checkpoint.bin").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE.parent / "target" / "tiny", help="where data, checkpoints and weights lie")
    parser.add_argument("--size", choices=SIZES, default="3M", help="parameters (3M)")
    parser.add_argument("--tokens", type=float, default=40e6, help="tokens that all stages read (40e6)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads (all)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16", help="of products (bfloat16)")
    parser.add_argument("--ship", action="store_true", help="take the result as the model that is embedded")
    given = parser.parse_args()
    work: Path = given.work
    work.mkdir(parents=True, exist_ok=True)
    make_tokenizer(work / "tokenizer")
    write_config(work / "config.json", given.size)
    before = None
    for name in STAGES:
        train(work, name, before, given)
        before = name
    target = work / SHIPPED.name
    to_gguf.convert(work / before, work / "tokenizer", target, "outcrop.tiny-v1")
    if given.ship:
        SHIPPED.write_bytes(target.read_bytes())
    say(f"{target}: {target.stat().st_size:,} bytes; score it with training/evaluate.py --model {target}")


if __name__ == "__main__":
    sys.exit(main())
