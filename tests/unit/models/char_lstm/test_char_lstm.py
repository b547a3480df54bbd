from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import parse_json_object
from model_trainer.core.contracts.training import LanguageModelSpec, Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.models.char_lstm import FAMILY
from model_trainer.models.char_lstm.backend import BACKEND
from model_trainer.models.char_lstm.config import LONGEST_WINDOW, CharLstmSpec

GIB = 2**30
CPU = Machine(cpu_count=2, memory_bytes=8 * GIB, native_bf16=False, cuda_memory_bytes=0)
CUDA = Machine(cpu_count=8, memory_bytes=64 * GIB, native_bf16=False, cuda_memory_bytes=24 * GIB)


def spec(**asked: object) -> CharLstmSpec:
    body = {"model_family": "char_lstm", "corpus_path": "text", "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"}
    return CharLstmSpec.model_validate(body | asked)


def recipe(**asked: object) -> Recipe:
    small: dict[str, object] = {"num_layers": 2, "hidden_size": 8, "embedding_size": 5, "max_seq_len": 10}
    return FAMILY.resolve(spec(**(small | asked)), CPU, vocab_size=13)


def tokens(length: int = 10) -> torch.Tensor:
    return torch.randint(0, 13, (3, length), generator=torch.Generator().manual_seed(2))


def test_batches_are_the_documented_ones_on_cuda() -> None:
    made = FAMILY.resolve(spec(), CUDA, vocab_size=96)
    assert (made.batch_size, made.data_order, made.precision) == (64, "parallel_streams", "fp16")


def test_characters_are_what_it_reads() -> None:
    assert FAMILY.supported_tokenizers() == ("char",)


def test_a_window_beyond_the_limit_and_another_familys_request_are_refused() -> None:
    with pytest.raises(AppError) as caught:
        recipe(max_seq_len=LONGEST_WINDOW + 1)
    assert caught.value.faults[0].pointer == "/max_seq_len"
    other = LanguageModelSpec(
        model_family="char_lstm", corpus_path="text", tokenizer_id="01JCB0A8N7Q4T2V5W6X9Y0Z1AB"
    )
    with pytest.raises(AppError, match="char_lstm"):
        FAMILY.resolve(other, CPU, vocab_size=13)


def test_muon_keeps_one_moment_of_the_gates_matrices() -> None:
    adamw, muon = (FAMILY.estimate(recipe(optimizer={"name": name})) for name in ("adamw", "muon"))
    gates = 4 * 8 * (5 + 8) + 4 * 8 * (8 + 8)
    assert adamw.optimizer - muon.optimizer == 4 * gates
    model = BACKEND.build(recipe())
    moved = [p.numel() for name, p in model.named_parameters() if model.is_matrix_parameter(name)]
    assert sum(moved) == gates


def test_reading_in_pieces_with_carried_state_is_reading_at_once() -> None:
    torch.manual_seed(0)
    model = BACKEND.build(recipe()).eval()
    with torch.no_grad():
        whole, end = model.next_token_logits(tokens(), ())
        first, carry = model.next_token_logits(tokens()[:, :4], ())
        second, carry = model.next_token_logits(tokens()[:, 4:], carry)
        cold, _ = model.next_token_logits(tokens()[:, 4:], ())
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(carry[0], end[0], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(second, cold, atol=1e-4)


def test_it_computes_what_torchs_own_lstm_does() -> None:
    torch.manual_seed(0)
    model = BACKEND.build(recipe()).eval()
    reference = nn.LSTM(5, 8, num_layers=2)
    reference.load_state_dict(
        {name.removeprefix("lstm."): p for name, p in model.named_parameters() if name.startswith("lstm.")}
    )
    with torch.no_grad():
        embedded = nn.functional.embedding(tokens().t(), model.get_parameter("embedding.weight"))
        hidden, _ = reference(embedded)
        expected = hidden @ model.get_parameter("head.weight").t() + model.get_parameter("head.bias")
        logits, _ = model.next_token_logits(tokens(), ())
    torch.testing.assert_close(logits, expected.transpose(0, 1), atol=1e-6, rtol=1e-5)


def test_a_cell_remembers_at_first() -> None:
    model = BACKEND.build(recipe())
    for layer in (0, 1):
        bias = model.get_parameter(f"lstm.bias_ih_l{layer}") + model.get_parameter(f"lstm.bias_hh_l{layer}")
        assert bias.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16


@pytest.mark.parametrize("num_layers", [1, 2])
def test_dropout_drops_in_training_only(num_layers: int) -> None:
    model = BACKEND.build(recipe(dropout=0.5, num_layers=num_layers))
    with torch.no_grad():
        assert not torch.equal(*(model.next_token_logits(tokens(), ())[0] for _ in range(2)))
        model.eval()
        assert torch.equal(*(model.next_token_logits(tokens(), ())[0] for _ in range(2)))


def test_the_sizes_stand_beside_the_weights(tmp_path: Path) -> None:
    BACKEND.save(BACKEND.build(recipe()), recipe(), tmp_path, end_of_text_id=3)
    config = parse_json_object((tmp_path / "config.json").read_bytes())
    assert (config["model_type"], config["hidden_size"], config["eos_token_id"]) == ("char_lstm", 8, 3)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    BACKEND.save(BACKEND.build(recipe()), recipe(), tmp_path, end_of_text_id=None)
    with pytest.raises(AppError, match="names or shapes") as caught:
        BACKEND.load(recipe(hidden_size=16), tmp_path)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
    weights = tmp_path / "model.safetensors"
    save_file(load_file(weights) | {"extra": torch.zeros(1)}, weights)
    with pytest.raises(AppError, match="names or shapes"):
        BACKEND.load(recipe(), tmp_path)
    weights.write_bytes(b"not tensors")
    with pytest.raises(AppError, match="cannot be read"):
        BACKEND.load(recipe(), tmp_path)
