"""Write MODEL_DIR/model.onnx from the safetensors of a BERT encoder, for onnxruntime.

usage: minilm_onnx.py MODEL_DIR [OUTPUT]. Inputs input_ids, attention_mask, token_type_ids
(int64, (batch, tokens)); output h, the last layer's vectors (float32, (batch, tokens, hidden)).
The graph is what torch exports for eager attention; onnxruntime may fuse it as it likes.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file


class Graph:
    """Collects nodes and constants; each method returns its output's name."""

    def __init__(self, tensors):
        self.tensors, self.nodes, self.constants = tensors, [], {}

    def constant(self, name, value):
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def weight(self, name, transpose=False):
        value = self.tensors[name]
        return self.constant(name + (".T" if transpose else ""), value.T if transpose else value)

    def op(self, kind, *inputs, **attributes):
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def dense(self, x, name):
        product = self.op("MatMul", x, self.weight(name + ".weight", transpose=True))
        return self.op("Add", product, self.weight(name + ".bias"))

    def norm(self, x, name, eps):
        return self.op("LayerNormalization", x, self.weight(name + ".weight"), self.weight(name + ".bias"), axis=-1, epsilon=eps)

    def scalar(self, value):
        return self.constant(f"scalar_{value}", np.array(value, np.float32))

    def gelu(self, x):
        erf = self.op("Erf", self.op("Div", x, self.scalar(2**0.5)))
        return self.op("Mul", self.op("Mul", x, self.op("Add", erf, self.scalar(1.0))), self.scalar(0.5))


def attention(graph, x, mask, layer, heads, head_dim):
    """Eager attention: softmax(q k^T / sqrt(d) + mask) v."""
    split = graph.constant("split", np.array([0, 0, heads, head_dim], np.int64))
    join = graph.constant("join", np.array([0, 0, heads * head_dim], np.int64))

    def part(name, perm):
        rows = graph.dense(x, f"{layer}.attention.self.{name}")
        return graph.op("Transpose", graph.op("Reshape", rows, split), perm=perm)

    query, key, value = part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]), part("value", [0, 2, 1, 3])
    scores = graph.op("Div", graph.op("MatMul", query, key), graph.scalar(head_dim**0.5))
    weights = graph.op("Softmax", graph.op("Add", scores, mask), axis=-1)
    context = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    return graph.dense(graph.op("Reshape", context, join), f"{layer}.attention.output.dense")


def build(folder):
    """The model of a folder, checked."""
    config = json.loads((folder / "config.json").read_text())
    tensors = {name.removeprefix("bert."): value for name, value in load_file(folder / "model.safetensors").items()}
    eps, heads, hidden = config["layer_norm_eps"], config["num_attention_heads"], config["hidden_size"]
    graph = Graph(tensors)
    axes = lambda at: graph.constant(f"axes_{at}", np.array(at, np.int64))
    words = graph.op("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    types = graph.op("Gather", graph.weight("embeddings.token_type_embeddings.weight"), "token_type_ids")
    length = graph.op("Gather", graph.op("Shape", "input_ids"), graph.constant("one", np.array([1], np.int64)), axis=0)
    positions = graph.op("Slice", graph.weight("embeddings.position_embeddings.weight"), axes([0]), length, axes([0]))
    x = graph.op("Add", graph.op("Add", words, types), positions)
    x = graph.norm(x, "embeddings.LayerNorm", eps)
    mask = graph.op("Cast", graph.op("Unsqueeze", "attention_mask", axes([1, 2])), to=TensorProto.FLOAT)
    mask = graph.op("Mul", graph.op("Sub", graph.scalar(1.0), mask), graph.scalar(-1e9))
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        x = graph.op("Add", attention(graph, x, mask, layer, heads, hidden // heads), x)
        x = graph.norm(x, f"{layer}.attention.output.LayerNorm", eps)
        inner = graph.gelu(graph.dense(x, f"{layer}.intermediate.dense"))
        x = graph.op("Add", graph.dense(inner, f"{layer}.output.dense"), x)
        x = graph.norm(x, f"{layer}.output.LayerNorm", eps)
    graph.nodes[-1].output[0] = "h"
    shape = ["batch", "tokens"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask", "token_type_ids")]
    outputs = [helper.make_tensor_value_info("h", TensorProto.FLOAT, [*shape, hidden])]
    body = helper.make_graph(graph.nodes, "bert", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    source = Path(sys.argv[1])
    onnx.save(build(source), sys.argv[2] if len(sys.argv) > 2 else str(source / "model.onnx"))
