import logging
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from transformers import BertConfig, BertModel, DebertaV2Config, DebertaV2Model

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.export.parity import parity
from model_trainer.engine.export.to_onnx import at_rest, export_onnx
from model_trainer.engine.protocols import TextClassifier
from model_trainer.serving.session import OnnxNetwork, padded
from tests.unit.engine.export.toys import PLAN, HashingClassifier, toy


class _Encoded(TextClassifier):
    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(32, 1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).float()
        logits: torch.Tensor = self.head((hidden * mask).sum(1) / mask.sum(1))
        return logits.squeeze(-1)


def _deberta() -> TextClassifier:
    return _Encoded(
        DebertaV2Model(
            DebertaV2Config.from_dict(
                {
                    "vocab_size": 50,
                    "hidden_size": 32,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 4,
                    "intermediate_size": 64,
                    "max_position_embeddings": 64,
                    "relative_attention": True,
                    "position_buckets": 8,
                    "pos_att_type": ["p2c", "c2p"],
                    "norm_rel_ebd": "layer_norm",
                    "share_att_key": True,
                    "position_biased_input": False,
                    "type_vocab_size": 0,
                }
            )
        )
    )


def _bert() -> TextClassifier:
    return _Encoded(
        BertModel(
            BertConfig(
                vocab_size=50,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=64,
                max_position_embeddings=64,
            )
        )
    )


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(_deberta, marks=pytest.mark.slow),
        pytest.param(_bert, marks=pytest.mark.slow),
        HashingClassifier,
    ],
    ids=["deberta", "bert", "hashing"],
)
def test_the_exported_network_says_what_the_trained_one_says(
    make: Callable[[], TextClassifier], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = make()
    plan = PLAN.model_copy(update={"length": 64})

    opset = export_onnx(model, tmp_path / "model.onnx", windows=plan)
    found = parity(model, tmp_path / "model.onnx", windows=plan, vocab_size=50, threads=1)

    assert opset >= 17
    assert found.passed
    assert found.max_difference < 1e-5
    assert found.num_windows == 11


def test_the_same_weights_give_one_file_of_the_same_bytes_without_a_word_of_our_source(
    exported: Path, tmp_path: Path
) -> None:
    export_onnx(toy(), tmp_path / "again", windows=PLAN)
    written = exported.read_bytes()
    assert written == (tmp_path / "again").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again"]
    assert b".py" not in written
    assert b"forward" not in written
    graph = onnx.load_model(exported).graph
    assert not graph.value_info
    assert not any(part.metadata_props or part.doc_string for part in (*graph.node, *graph.input))


def test_batch_and_length_of_the_exported_network_are_free(exported: Path) -> None:
    network = OnnxNetwork(exported, threads=None)
    for windows, tokens in ((1, 1), (3, 8), (5, 2)):
        assert network.run(*padded([[4] * tokens] * windows, pad_id=0)).shape == (windows,)


def test_the_model_is_afterwards_as_it_was(tmp_path: Path) -> None:
    model = toy()
    model.train()
    model.inner.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    export_onnx(model, tmp_path / "model.onnx", windows=PLAN)

    assert model.training
    assert model.dropout.training
    assert not model.inner.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_dropout_is_off_while_a_model_is_at_rest_even_when_that_ends_badly() -> None:
    model = toy()
    model.train()
    seen: list[bool] = []

    def fail() -> None:
        with at_rest(model):
            seen.append(model.dropout.training)
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert seen == [False]
    assert model.dropout.training


def test_weights_that_no_onnx_file_can_hold_are_refused_before_any_work(tmp_path: Path) -> None:
    num_bytes = 4 * sum(parameter.numel() for parameter in toy().parameters())
    with pytest.raises(AppError, match="smaller encoder") as raised:
        export_onnx(toy(), tmp_path / "model.onnx", windows=PLAN, largest=num_bytes - 1)
    assert raised.value.code is ErrorCode.MODEL_TOO_LARGE
    assert raised.value.facts["num_bytes"] == num_bytes
    assert not (tmp_path / "model.onnx").exists()


def test_weights_that_just_fit_are_exported_without_a_word_from_the_exporter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = toy()
    num_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
    logging.getLogger("onnxscript").setLevel(logging.INFO)
    try:
        export_onnx(model, tmp_path / "model.onnx", windows=PLAN, largest=num_bytes)
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
        assert logging.getLogger("onnxscript").level == logging.INFO
    finally:
        logging.getLogger("onnxscript").setLevel(logging.NOTSET)
