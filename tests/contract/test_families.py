"""What every family of language models must keep, found by the registry: a new one is held to all of it by existing."""

import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from model_trainer.core.contracts.base import dump_json
from model_trainer.core.contracts.training import CheckpointSpec, Precision, Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.devices import probe_machine
from model_trainer.engine.protocols import StopReason
from model_trainer.engine.training.checkpoint import CheckpointFolder
from model_trainer.engine.training.micro_batch import halved
from model_trainer.engine.training.seed import seed_everything
from model_trainer.models.family import LanguageFamily
from model_trainer.registry import Registry
from tests.contract.language_families import FAMILIES, MACHINE, VOCAB, recipe_of, spec_of, train
from tests.contract.witness import Crashed, Witness, same, weights

INTERRUPTIONS: list[tuple[StopReason | None, Precision]] = [
    (StopReason.PAUSE, "fp32"),
    (StopReason.HAND_OVER, "fp32"),
    (StopReason.CANCEL, "fp32"),
    (None, "fp32"),
    (None, "bf16" if probe_machine().native_bf16 else "fp32"),
]
"""None: a crash. What a checkpoint holds does not depend on why it was needed: bf16 once."""

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES),
]


def test_a_request_survives_the_way_through_json(family: LanguageFamily) -> None:
    asked = spec_of(family, metadata={"a": "b"})
    assert family.spec.model_validate_json(asked.model_dump_json()) == asked


def test_the_example_is_a_valid_request_for_this_family(family: LanguageFamily) -> None:
    example = family.spec.model_validate_json(dump_json(family.example()))
    assert example.model_family == family.name
    assert family.resolve(example, MACHINE, vocab_size=VOCAB).model_family == family.name


def test_a_family_introduces_itself(family: LanguageFamily) -> None:
    assert FAMILIES[family.name] is family
    assert family.title
    assert set(family.supported_tokenizers()) <= set(Registry.discover().tokenizers())


def test_the_recipe_is_a_function_of_request_and_machine_and_survives_json(family: LanguageFamily) -> None:
    recipe = recipe_of(family)
    assert recipe_of(family) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert (recipe.num_epochs is None) != (recipe.max_steps is None)


def test_the_recipe_without_any_wish_is_complete(family: LanguageFamily) -> None:
    bare = family.spec.model_validate(
        {"model_family": family.name, "corpus_path": "text", "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"}
    )
    recipe = family.resolve(bare, MACHINE, vocab_size=VOCAB)
    assert (recipe.num_epochs is None) != (recipe.max_steps is None)
    assert family.estimate(recipe).total() > 0


def test_a_device_that_is_not_there_is_refused(family: LanguageFamily) -> None:
    with pytest.raises(AppError) as caught:
        recipe_of(family, device="cuda")
    assert caught.value.code is ErrorCode.DEVICE_UNAVAILABLE


def test_the_estimate_counts_parameters_exactly(family: LanguageFamily) -> None:
    recipe = recipe_of(family)
    model = family.backend().build(recipe)
    estimate = family.estimate(recipe)
    assert estimate.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert estimate.weights == sum(
        parameter.numel() * parameter.element_size() for parameter in model.parameters()
    )


def test_logits_are_of_the_next_token_and_finite(family: LanguageFamily) -> None:
    model = family.backend().build(recipe_of(family)).eval()
    tokens_BT = torch.randint(0, VOCAB, (2, 16))
    with torch.no_grad():
        logits_BTV, carry = model.next_token_logits(tokens_BT, ())
        again_BTV, _ = model.next_token_logits(tokens_BT, carry)
    assert logits_BTV.shape == again_BTV.shape == (2, 16, VOCAB)
    assert bool(torch.isfinite(logits_BTV).all())


def test_the_same_seed_makes_the_same_network(family: LanguageFamily) -> None:
    networks = []
    for _ in range(2):
        seed_everything(5)
        networks.append(weights(family.backend().build(recipe_of(family))))
    assert same(*networks)


def test_the_loss_falls_within_twenty_steps(family: LanguageFamily, tmp_path: Path) -> None:
    witness = Witness()
    at_once: dict[str, object] = {
        "dropout": 0.0,
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "schedule": {"name": "constant", "warmup_steps": 0},
    }
    train(family, recipe_of(family, **at_once), tmp_path, "checkpoints", witness)
    losses = [row["loss"] for _, row in witness.rows if "loss" in row]
    assert len(losses) == 20
    assert losses[0] == pytest.approx(math.log(VOCAB), abs=0.3)
    assert sum(losses[-3:]) / 3 < losses[0] - 0.4


@pytest.mark.parametrize(("reason", "precision"), INTERRUPTIONS)
def test_interrupted_at_any_step_a_run_ends_bitwise_like_one_that_was_not(
    family: LanguageFamily, tmp_path: Path, reason: StopReason | None, precision: Precision
) -> None:
    """With dropout, micro-batches, and checkpoints that are written beside training."""
    asked: dict[str, object] = {
        "max_steps": 7,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "eval_every_steps": 3,
        "checkpoint": CheckpointSpec(every_steps=2, keep_last=2),
    }
    recipe = recipe_of(family, **asked).model_copy(update={"precision": precision})
    straight = Witness()
    expected = train(family, recipe, tmp_path, "straight", straight)
    reference = CheckpointFolder(tmp_path / "straight").load(7)
    for step in range(8):
        first, second = Witness(step, reason), Witness()
        with pytest.raises(Crashed) if reason is None else nullcontext():
            train(family, recipe, tmp_path, f"resumed {step}", first)
        result = train(family, recipe, tmp_path, f"resumed {step}", second)
        if reason is not None and reason.keeps_work:
            assert second.resumed_at == step, "nothing is lost"
        assert same(weights(result), weights(expected)), f"weights, interrupted after step {step}"
        assert second.last_metrics == straight.last_metrics
        kept = [row for row in first.rows if row[0] <= second.resumed_at]
        assert kept + second.rows == straight.rows
        ours = CheckpointFolder(tmp_path / f"resumed {step}").load(7)
        assert ours.state == reference.state
        assert same(ours.training, reference.training), f"optimizer, interrupted after step {step}"


def test_a_run_that_ran_out_of_memory_goes_on_with_half_the_micro_batch(
    family: LanguageFamily, tmp_path: Path
) -> None:
    recipe = recipe_of(family, dropout=0.0, max_steps=8, eval_every_steps=4)
    smaller = halved(recipe)
    assert smaller is not None
    straight, first, second = Witness(), Witness(5, StopReason.PAUSE), Witness()
    train(family, recipe, tmp_path, "straight", straight)
    train(family, recipe, tmp_path, "resumed", first)
    train(family, smaller, tmp_path, "resumed", second)
    assert second.resumed_at == 5
    assert [step for step, _ in first.rows + second.rows] == [step for step, _ in straight.rows]
    for (_, ours), (_, theirs) in zip(first.rows + second.rows, straight.rows, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    state = CheckpointFolder(tmp_path / "resumed").load(8).state
    assert (state.batch_size, state.gradient_accumulation_steps) == (2, 2)


def test_what_is_loaded_is_what_was_saved(family: LanguageFamily, tmp_path: Path) -> None:
    recipe = recipe_of(family)
    seed_everything(3)
    model = family.backend().build(recipe)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    family.backend().save(model, recipe, tmp_path, end_of_text_id=None)
    assert (tmp_path / "config.json").exists()
    loaded = family.backend().load(recipe, tmp_path)
    assert same(weights(loaded), weights(model))
    tokens_BT = torch.randint(0, VOCAB, (2, 16))
    with torch.no_grad():
        left, right = (network.eval().next_token_logits(tokens_BT, ())[0] for network in (model, loaded))
    assert torch.equal(left, right)


def test_saving_twice_gives_the_same_bytes(family: LanguageFamily, tmp_path: Path) -> None:
    recipe = recipe_of(family)
    model = family.backend().build(recipe)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        family.backend().save(model, recipe, tmp_path / name, end_of_text_id=1)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_muon_moves_matrices_only(family: LanguageFamily) -> None:
    model = family.backend().build(recipe_of(family))
    moved = [parameter for name, parameter in model.named_parameters() if model.is_matrix_parameter(name)]
    assert moved
    assert all(parameter.ndim == 2 for parameter in moved)


def test_saving_leaves_two_files_that_may_be_read_like_others(family: LanguageFamily, tmp_path: Path) -> None:
    recipe = recipe_of(family)
    model = family.backend().build(recipe)
    (tmp_path / "plain").touch()
    family.backend().save(model, recipe, tmp_path, end_of_text_id=None)
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert set(modes) == {"plain", "config.json", "model.safetensors"}
    assert len(set(modes.values())) == 1
