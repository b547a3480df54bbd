from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.models.gpt2 import FAMILY
from model_trainer.models.gpt2.backend import BACKEND, to_transformers
from model_trainer.models.gpt2.network import Gpt2
from tests.unit.models.gpt2.test_gpt2_config import CPU, spec


def recipe(**asked: object) -> Recipe:
    small: dict[str, object] = {
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 16,
        "max_seq_len": 12,
        "precision": "fp32",
    }
    return FAMILY.resolve(spec(**(small | asked)), CPU, vocab_size=31)


def built(**asked: object) -> Gpt2:
    """Far from its start, so that every bias and scale counts."""
    torch.manual_seed(1)
    model = BACKEND.build(recipe(**asked))
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.3)
    return model


def tokens() -> torch.Tensor:
    return torch.randint(0, 31, (3, 12), generator=torch.Generator().manual_seed(2))


def test_transformers_loads_what_is_saved_and_agrees_on_every_logit(tmp_path: Path) -> None:
    model = built(dropout=0.3).eval()
    BACKEND.save(model, recipe(dropout=0.3), tmp_path, end_of_text_id=5)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        ours_BTV, carry = model.next_token_logits(tokens(), ())
        theirs_BTV = theirs(tokens()).logits
    assert carry == ()
    torch.testing.assert_close(ours_BTV, theirs_BTV, atol=1e-4, rtol=1e-4)
    assert type(theirs).__name__ == "GPT2LMHeadModel"
    assert (theirs.config.eos_token_id, theirs.config.resid_pdrop) == (5, 0.3)
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in model.parameters())


def test_gradients_agree_with_transformers_too(tmp_path: Path) -> None:
    model = built().eval()
    BACKEND.save(model, recipe(), tmp_path, end_of_text_id=None)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.autograd.backward(model.next_token_logits(tokens(), ())[0].logsumexp(-1).mean())
    torch.autograd.backward(theirs(tokens()).logits.logsumexp(-1).mean())
    theirs_qkv = theirs.get_parameter("transformer.h.1.attn.c_attn.weight").grad
    ours_qkv = [
        model.get_parameter(f"block_1.attention.{part}.weight").grad for part in ("query", "key", "value")
    ]
    torch.testing.assert_close(
        torch.cat([g for g in ours_qkv if g is not None]).t(), theirs_qkv, atol=1e-5, rtol=1e-3
    )


def test_a_position_sees_nothing_of_what_follows() -> None:
    model = built().eval()
    changed = tokens()
    changed[:, 7] = (changed[:, 7] + 1) % 31
    with torch.no_grad():
        before, after = (model.next_token_logits(some, ())[0] for some in (tokens(), changed))
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.equal(before[:, 7:], after[:, 7:])


def test_dropout_drops_in_training_only() -> None:
    model = built(dropout=0.5)
    with torch.no_grad():
        assert not torch.equal(*(model.next_token_logits(tokens(), ())[0] for _ in range(2)))
        model.eval()
        assert torch.equal(*(model.next_token_logits(tokens(), ())[0] for _ in range(2)))


def test_muon_moves_the_six_matrices_of_each_block_and_nothing_else() -> None:
    model = BACKEND.build(recipe())
    moved = [name for name, _ in model.named_parameters() if model.is_matrix_parameter(name)]
    assert len(moved) == 2 * 6
    assert all(model.get_parameter(name).ndim == 2 for name in moved)
    assert not any(name.startswith(("tokens", "positions")) for name in moved)


def test_what_writes_into_the_residual_stream_starts_smaller_in_a_deeper_model() -> None:
    torch.manual_seed(0)
    model = BACKEND.build(recipe(n_layer=8, n_embd=64))
    inside = model.get_parameter("block_0.expand.weight").std().item()
    out = model.get_parameter("block_0.contract.weight").std().item()
    assert inside == pytest.approx(0.02, rel=0.05)
    assert out == pytest.approx(0.02 / 4, rel=0.05)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    BACKEND.save(built(), recipe(), tmp_path, end_of_text_id=None)
    with pytest.raises(AppError, match="names or shapes") as caught:
        BACKEND.load(recipe(n_layer=1), tmp_path)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_a_parameter_more_or_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    BACKEND.save(built(), recipe(), tmp_path, end_of_text_id=None)
    weights = tmp_path / "model.safetensors"
    save_file(load_file(weights) | {"extra": torch.zeros(1)}, weights)
    with pytest.raises(AppError, match="names or shapes"):
        BACKEND.load(recipe(), tmp_path)
    weights.write_bytes(b"not tensors")
    with pytest.raises(AppError, match="cannot be read"):
        BACKEND.load(recipe(), tmp_path)
    weights.unlink()
    with pytest.raises(AppError, match="cannot be read"):
        BACKEND.load(recipe(), tmp_path)


def test_a_parameter_that_transformers_does_not_know_is_a_programming_error() -> None:
    with pytest.raises(KeyError, match="strange"):
        to_transformers({"strange.weight": torch.zeros(1)})
