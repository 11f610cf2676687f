"""Writes GGUF files with random weights of real shapes: good for speed and for nothing else.

usage: random_gguf.py OUT.gguf SHAPE QUANT      SHAPE: llama-3.2-1b | qwen2.5-0.5b | qwen3-0.6b | qwen3-moe-small | small; QUANT: Q8_0 | Q4_0 | Q4_K_M

Quantised blocks are drawn directly, with scales that keep activations in range. The vocabulary is
made up: the 256 bytes, one merge and fillers.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, TokenType

SHAPES = {
    "llama-3.2-1b": dict(arch="llama", layers=16, hidden=2048, heads=32, kv_heads=8, head_dim=64, inner=8192,
                         vocab=128256, theta=5e5, eps=1e-5, context=131072),
    "qwen3-0.6b": dict(arch="qwen3", layers=28, hidden=1024, heads=16, kv_heads=8, head_dim=128, inner=3072,
                       vocab=151936, theta=1e6, eps=1e-6, context=40960),
    "qwen2.5-0.5b": dict(arch="qwen2", layers=24, hidden=896, heads=14, kv_heads=2, head_dim=64, inner=4864,
                         vocab=151936, theta=1e6, eps=1e-6, context=32768),
    # Of no published model: 32 experts of which a token goes through 4, as Qwen3-MoE lays them out.
    "qwen3-moe-small": dict(arch="qwen3moe", layers=8, hidden=1024, heads=16, kv_heads=4, head_dim=64, inner=512,
                            vocab=32768, theta=1e6, eps=1e-6, context=32768, experts=32, used=4),
    "small": dict(arch="llama", layers=2, hidden=256, heads=4, kv_heads=2, head_dim=64, inner=512,
                  vocab=1024, theta=1e4, eps=1e-5, context=4096),
}
FILE_TYPES = {"Q8_0": 7, "Q4_0": 2, "Q4_K_M": 15}
rng = np.random.default_rng(0)


def scales(count, value):
    return (np.abs(rng.standard_normal(count)) * value + value / 2).astype(np.float16).view(np.uint8).reshape(count, 2)


def codes(count, width):
    return rng.integers(0, 256, (count, width), dtype=np.uint8)


def blocks(kind, elements, fan_in):
    """Random blocks whose weights deviate by about 1 / sqrt(fan_in)."""
    deviation = 1 / np.sqrt(fan_in)
    if kind == Type.Q8_0:
        n = elements // 32
        return np.concatenate([scales(n, deviation / 74), codes(n, 32)], 1)
    if kind == Type.Q4_0:
        n = elements // 32
        return np.concatenate([scales(n, deviation / 4.6), codes(n, 16)], 1)
    n = elements // 256
    if kind == Type.Q4_K:
        return np.concatenate([scales(n, deviation / 150), scales(n, deviation / 20), codes(n, 140)], 1)
    return np.concatenate([codes(n, 208), scales(n, deviation / 1400)], 1)


def tensor_type(quant, name, layer, layers):
    """The types of llama.cpp's mixes; Q4_K_M spends more bits on a part of the layers."""
    if quant == "Q4_0":
        return Type.Q8_0 if name == "token_embd" else Type.Q4_0
    if quant == "Q4_K_M":
        eighth = layers // 8
        spared = layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2
        more = name == "token_embd" or (name in ("attn_v", "ffn_down") and spared)
        return Type.Q6_K if more else Type.Q4_K
    return Type.Q8_0


def byte_symbols():
    """GPT-2's printable stand-ins for the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    fill = iter(range(256, 512))
    return [chr(b if b in printable else next(fill)) for b in range(256)]


def write(path, shape_name, quant):
    shape = SHAPES[shape_name]
    hidden, head_dim = shape["hidden"], shape["head_dim"]
    writer = GGUFWriter(path, shape["arch"])
    writer.add_name(f"{shape_name}-random")
    writer.add_block_count(shape["layers"])
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(shape["inner"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_freq_base(shape["theta"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(shape["eps"])
    writer.add_vocab_size(shape["vocab"])
    writer.add_file_type(FILE_TYPES[quant])
    experts = shape.get("experts", 0)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(shape["used"])
        writer.add_expert_feed_forward_length(shape["inner"])
    fillers = shape["vocab"] - 256 - 3
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe" if shape["arch"] == "llama" else "qwen2")
    # A vocabulary needs one merge at least: "t h" makes "th".
    writer.add_token_list([*byte_symbols(), "<|begin|>", "<|end|>", "th", *(f"[PAD{i}]" for i in range(fillers))])
    kinds = [TokenType.NORMAL] * 256 + [TokenType.CONTROL] * 2 + [TokenType.NORMAL]
    writer.add_token_types(kinds + [TokenType.UNUSED] * fillers)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)

    def matrix(name, rows, columns):
        layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
        kind = tensor_type(quant, name.split(".")[-2], layer, shape["layers"])
        writer.add_tensor(name, blocks(kind, rows * columns, columns).reshape(rows, -1), raw_dtype=kind)

    def stacked(name, rows, columns):
        kind = tensor_type(quant, name.split(".")[-2].removesuffix("_exps"), int(name.split(".")[1]), shape["layers"])
        data = blocks(kind, experts * rows * columns, columns)
        writer.add_tensor(name, data.reshape(experts, rows, -1), raw_dtype=kind)

    def ones(name, length):
        writer.add_tensor(name, np.ones(length, np.float32))

    matrix("token_embd.weight", shape["vocab"], hidden)
    for layer in range(shape["layers"]):
        prefix = f"blk.{layer}."
        ones(prefix + "attn_norm.weight", hidden)
        ones(prefix + "ffn_norm.weight", hidden)
        if shape["arch"] in ("qwen3", "qwen3moe"):
            ones(prefix + "attn_q_norm.weight", head_dim)
            ones(prefix + "attn_k_norm.weight", head_dim)
        if shape["arch"] == "qwen2":
            for name, heads in (("q", shape["heads"]), ("k", shape["kv_heads"]), ("v", shape["kv_heads"])):
                bias = rng.standard_normal(heads * head_dim).astype(np.float32) * 0.1
                writer.add_tensor(prefix + f"attn_{name}.bias", bias)
        matrix(prefix + "attn_q.weight", shape["heads"] * head_dim, hidden)
        matrix(prefix + "attn_k.weight", shape["kv_heads"] * head_dim, hidden)
        matrix(prefix + "attn_v.weight", shape["kv_heads"] * head_dim, hidden)
        matrix(prefix + "attn_output.weight", hidden, shape["heads"] * head_dim)
        if experts:
            router = rng.standard_normal((experts, hidden)).astype(np.float32) / np.sqrt(hidden)
            writer.add_tensor(prefix + "ffn_gate_inp.weight", router.astype(np.float32))
            stacked(prefix + "ffn_gate_exps.weight", shape["inner"], hidden)
            stacked(prefix + "ffn_up_exps.weight", shape["inner"], hidden)
            stacked(prefix + "ffn_down_exps.weight", hidden, shape["inner"])
            continue
        matrix(prefix + "ffn_gate.weight", shape["inner"], hidden)
        matrix(prefix + "ffn_up.weight", shape["inner"], hidden)
        matrix(prefix + "ffn_down.weight", hidden, shape["inner"])
    ones("output_norm.weight", hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def model_files(names: list[str]) -> Iterator[tuple[str, Path]]:
    """Each model's name with its file: as it is, or for SHAPE:QUANT written now and removed after its turn."""
    for name in names:
        if name.endswith(".gguf"):
            yield Path(name).stem, Path(name)
            continue
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / f"{name.replace(':', '-')}.gguf"
            write(str(path), *name.split(":"))
            yield name, path


if __name__ == "__main__":
    write(*sys.argv[1:4])
