import sys
from pathlib import Path

import numpy as np
import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.serving.session import OnnxNetwork, logits_of, padded
from model_trainer.serving.tokens import TokenizerFile
from tests.unit.engine.export.toys import write_tokenizer
from tests.unit.serving.networks import CountingNetwork, write_network


def test_windows_of_one_length_go_together_and_their_logits_come_in_order() -> None:
    network = CountingNetwork()
    windows = [[9, 9, 9], [1], [5, 5], [2], [7, 7, 7]]
    logits = logits_of(network, windows, pad_id=0, batch_windows=2)
    assert logits.tolist() == [9, 1, 5, 2, 7]
    assert network.shapes == [(2, 1), (2, 3), (1, 3)]


def test_padding_is_marked_in_the_mask() -> None:
    ids, mask = padded([[4, 5], [6]], pad_id=3)
    assert ids.tolist() == [[4, 5], [6, 3]]
    assert mask.tolist() == [[1, 1], [1, 0]]
    assert ids.dtype == mask.dtype == np.int64


def test_a_window_without_tokens_is_one_of_padding() -> None:
    ids, mask = padded([[]], pad_id=3)
    assert (ids.tolist(), mask.tolist()) == ([[3]], [[0]])


def test_no_windows_have_no_logits() -> None:
    assert logits_of(CountingNetwork(), [], pad_id=0).shape == (0,)


@pytest.mark.parametrize("threads", [None, 1])
def test_an_onnx_file_judges_windows(tmp_path: Path, threads: int | None) -> None:
    write_network(tmp_path / "model.onnx", [0.0, 1.0, 3.0])
    network = OnnxNetwork(tmp_path / "model.onnx", threads=threads)
    assert logits_of(network, [[1, 2], [2]], pad_id=0).tolist() == [2.0, 3.0]


def test_a_network_that_answers_with_no_number_is_broken(tmp_path: Path) -> None:
    write_network(tmp_path / "model.onnx", [0.0, float("nan")])
    with pytest.raises(AppError, match="no number") as raised:
        logits_of(OnnxNetwork(tmp_path / "model.onnx", threads=1), [[1]], pad_id=0)
    assert raised.value.code is ErrorCode.ARTIFACT_CORRUPT


@pytest.mark.parametrize("content", [b"", b"no protobuf"])
def test_what_onnxruntime_cannot_load_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(AppError, match=r"cannot load model\.onnx") as raised:
        OnnxNetwork(tmp_path / "model.onnx", threads=None)
    assert raised.value.code is ErrorCode.ARTIFACT_CORRUPT
    assert raised.value.facts == {"path": "model.onnx"}


def test_without_onnxruntime_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # importing it raises ImportError
    write_network(tmp_path / "model.onnx", [0.0])
    with pytest.raises(AppError, match=r"needs onnxruntime.*pip install") as raised:
        OnnxNetwork(tmp_path / "model.onnx", threads=None)
    assert raised.value.code is ErrorCode.SERVICE_UNAVAILABLE


def test_without_tokenizers_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    write_tokenizer(tmp_path)
    with pytest.raises(AppError, match=r"needs tokenizers.*pip install") as raised:
        TokenizerFile(tmp_path / "model" / "tokenizer.json")
    assert raised.value.code is ErrorCode.SERVICE_UNAVAILABLE
