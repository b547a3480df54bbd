from pathlib import Path

import numpy as np
from onnx import helper

from model_trainer.engine.export.graph import coarsest_first

FLOAT = 1


def test_nodes_are_ranked_by_how_few_steps_eight_bits_leave_their_weights(tmp_path: Path) -> None:
    spread = np.ones((4, 4), dtype=np.float32)
    outlier = spread.copy()
    outlier[0, 0] = 500.0  # the others are rounded to nothing
    weights = {
        "even": spread,
        "uneven": outlier,
        "between": np.array([[1.0, 0.3], [0.55, 0.21]], dtype=np.float32),
        "zero": np.zeros((4, 4), dtype=np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "even"], ["a"], name="product"),
        helper.make_node("Gather", ["uneven", "ids"], ["b"], name="look_up"),
        helper.make_node("Gemm", ["x", "between"], ["c"], name="head"),
        helper.make_node("MatMul", ["x", "zero"], ["d"], name="nothing"),
        helper.make_node("Add", ["x", "uneven"], ["e"], name="sum"),
        helper.make_node("MatMul", ["x", "a"], ["f"], name="no_weights"),
    ]
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", FLOAT, [4, 4])],
        [helper.make_tensor_value_info("f", FLOAT, [4, 4])],
        [helper.make_tensor(name, FLOAT, values.shape, values) for name, values in weights.items()],
    )
    (tmp_path / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())

    assert coarsest_first(tmp_path / "model.onnx") == ("look_up", "head", "product", "nothing")
