"""An .onnx file as a graph of nodes: what it is cleaned of, and which weights would suffer most from eight bits."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from model_trainer.core.files import disk_errors

QUANTIZED_OPS = ("MatMul", "Gemm", "Gather")
"""Products with weights, and look-ups in embeddings: where nearly all bytes are."""


def strip(path: Path) -> int:
    """Takes out of the file in place what the exporter notes about our source (paths, stack traces) and shapes of
    intermediate values, which onnxruntime infers itself and its quantizer finds wrong; returns the opset."""
    model = onnx.load_model(path)
    graph = model.graph
    graph.value_info.clear()
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.metadata_props.clear()
        part.doc_string = ""
    with disk_errors(path):
        path.write_bytes(model.SerializeToString(deterministic=True))
    return next(each.version for each in model.opset_import if not each.domain)


def coarsest_first(path: Path) -> tuple[str, ...]:
    """Names of the nodes that eight bits would touch; first those whose weights would be left the fewest steps, because one
    scale must do for a few large weights and for all the others."""
    graph = onnx.load_model(path).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    coarseness: list[tuple[float, str]] = []
    for node in graph.node:
        named = [weights[name] for name in node.input if name in weights]
        if node.op_type in QUANTIZED_OPS and named:
            coarseness.append(
                (-max(_coarseness(onnx.numpy_helper.to_array(each)) for each in named), node.name)
            )
    return tuple(name for _, name in sorted(coarseness))


def _coarseness(weights: NDArray[np.float32]) -> float:
    """The largest weight over the mean one: 127 over that is how many steps the mean one has."""
    sizes = np.abs(weights).astype(np.float64)
    mean: float = sizes.mean()
    largest: float = sizes.max()
    return largest / mean if mean > 0 else 0.0
