"""Writes blocks.bin: for each quantised dtype, a row of 512 elements as stored, then as floats.

usage: blocks.py OUT.bin      needs gguf and numpy; the floats are gguf's own dequantisation
"""

import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

ELEMENTS = 512
# Where the halves (scales and minima) of a block stand.
HALVES = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "IQ4_NL": [0], "MXFP4": [],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip

rng = np.random.default_rng(3)
with open(sys.argv[1], "wb") as file:
    for name, halves in HALVES.items():
        dtype = GGMLQuantizationType[name]
        length, width = GGML_QUANT_SIZES[dtype]
        blocks = rng.integers(0, 256, (ELEMENTS // length, width), dtype=np.uint8)
        for at in halves:
            scales = rng.standard_normal(len(blocks)).astype(np.float16)
            blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
        if name == "MXFP4":
            blocks[:, 0] = [0, 1, 2, *rng.integers(100, 140, len(blocks) - 3)]
        file.write(blocks.tobytes())
        file.write(dequantize(blocks.reshape(1, -1), dtype).astype("<f4").tobytes())
