"""A network made by hand: a window's logit is the mean of its tokens' weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import helper

FLOAT, INT64 = 1, 7


def write_network(path: Path, weights: Sequence[float]) -> None:
    """An .onnx file with one weight a token."""
    table = helper.make_tensor("weights", FLOAT, [len(weights)], weights)
    axes = helper.make_tensor("axes", INT64, [1], [1])
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["looked_up"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=FLOAT),
        helper.make_node("Mul", ["looked_up", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axes"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "axes"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("logits", FLOAT, ["batch"])
    graph = helper.make_graph(nodes, "by_hand", inputs, [output], [table, axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())


class CountingNetwork:
    """The mean of a window's ids, and what it was asked."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int]] = []

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.shapes.append((input_ids.shape[0], input_ids.shape[1]))
        mean: NDArray[np.float64] = (input_ids * attention_mask).sum(1) / np.maximum(attention_mask.sum(1), 1)
        return mean.astype(np.float32)
