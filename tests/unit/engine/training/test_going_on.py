"""Trainings that stop and go on from a checkpoint, and checkpoints that they pass over."""

from pathlib import Path

import pytest
import torch

from model_trainer.core.contracts.training import CheckpointSpec, OptimizerName, Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.protocols import StopReason
from model_trainer.engine.training.checkpoint import CheckpointFolder
from tests.unit.engine.training.toys import (
    ToyModel,
    ToyTask,
    Witness,
    keep_all,
    same,
    toy_recipe,
    train,
)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
@pytest.mark.parametrize("stop_after", [1, 5, 7])
def test_a_stopped_run_resumes_to_bitwise_the_same_end(
    tmp_path: Path, optimizer: OptimizerName, stop_after: int
) -> None:
    recipe = toy_recipe(optimizer=optimizer, checkpoint=CheckpointSpec(every_steps=5, keep_last=1))
    straight = Witness()
    expected, reference = train(tmp_path / "straight", recipe, observer=straight)
    first, second = Witness(stop_after=stop_after), Witness()
    stopped, _ = train(tmp_path / "resumed", recipe, observer=first)
    assert stopped.stopped is StopReason.CANCEL
    assert stopped.steps == stop_after
    torch.rand(99)  # another process has other random numbers behind it
    result, model = train(tmp_path / "resumed", recipe, observer=second)
    resumed_at = first.saved[-1] if first.saved else 0
    assert second.resumed_at == (resumed_at or None)
    assert same(model, reference)
    rows = [(step, row) for step, row in first.rows if step <= resumed_at] + second.rows
    assert rows == straight.rows
    assert (result.best_step, result.best_metrics) == (expected.best_step, expected.best_metrics)
    assert result.last_metrics == expected.last_metrics
    left, right = (CheckpointFolder(tmp_path / name) for name in ("straight", "resumed"))
    assert left.steps() == right.steps()
    ours, theirs = left.load(12), right.load(12)
    assert ours.state == theirs.state
    assert all(torch.equal(ours.training[name], theirs.training[name]) for name in ours.training)


def test_a_stop_takes_effect_before_the_next_step_and_writes_nothing(tmp_path: Path) -> None:
    witness = Witness(stop_after=0, reason=StopReason.LEASE_LOST)
    result, model = train(tmp_path, toy_recipe(), observer=witness)
    assert (result.steps, result.stopped) == (0, StopReason.LEASE_LOST)
    assert same(model, ToyModel())
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_run_keeps_its_last_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, toy_recipe(eval_every_steps=100), observer=Witness(stop_after=7))
    assert CheckpointFolder(tmp_path).steps() == [5]


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    expected, reference = train(tmp_path, toy_recipe())
    witness = Witness()
    result, model = train(tmp_path, toy_recipe(), observer=witness)
    assert witness.progress == []
    assert same(model, reference)
    assert (result.steps, result.best_step, result.last_metrics) == (
        12,
        expected.best_step,
        expected.last_metrics,
    )


def test_a_corrupt_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    recipe = toy_recipe(checkpoint=keep_all(3))
    _, reference = train(tmp_path / "straight", recipe)
    train(tmp_path / "run", recipe, observer=Witness(stop_after=10))
    newest = CheckpointFolder(tmp_path / "run").path_of(9)
    (newest / "training.safetensors").write_bytes(b"")
    witness = Witness()
    _, model = train(tmp_path / "run", recipe, observer=witness)
    assert witness.rejected == [
        f"step-0000000009: The checkpoint is not used: training.safetensors has 0 bytes, not "
        f"{CheckpointFolder(tmp_path / 'straight').path_of(9).joinpath('training.safetensors').stat().st_size}."
    ]
    assert witness.resumed_at == 6
    assert same(model, reference)


@pytest.mark.parametrize(
    ("other", "why"),
    [(toy_recipe(seed=8), "another recipe"), (toy_recipe(num_epochs=1.5, max_steps=None), "another recipe")],
)
def test_a_checkpoint_of_another_recipe_is_not_loaded(tmp_path: Path, other: Recipe, why: str) -> None:
    train(tmp_path, other, observer=Witness(stop_after=6))
    witness = Witness()
    train(tmp_path, toy_recipe(checkpoint=CheckpointSpec(every_steps=5, keep_last=1)), observer=witness)
    assert witness.resumed_at is None
    assert witness.rejected
    assert all(why in rejected for rejected in witness.rejected)


def test_a_checkpoint_of_a_run_of_another_length_is_not_loaded(tmp_path: Path) -> None:
    class LongerText(ToyTask):
        @property
        def steps_per_epoch(self) -> float:
            return 9.0

    recipe = toy_recipe(num_epochs=1.5, max_steps=None)
    train(tmp_path, recipe, observer=Witness(stop_after=6))
    witness = Witness()
    train(tmp_path, recipe, task=LongerText(), observer=witness)
    assert witness.resumed_at is None
    assert "another length" in witness.rejected[0]


def test_a_fault_of_the_disk_other_than_a_bad_checkpoint_comes_out(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(AppError, match="File exists") as caught:
        train(blocked, toy_recipe())
    assert caught.value.code is ErrorCode.CHECKPOINT_NOT_WRITTEN


def test_a_run_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    recipe = toy_recipe(checkpoint=keep_all())
    train(tmp_path, recipe, observer=Witness(stop_after=6))
    before = CheckpointFolder(tmp_path).steps()
    witness = Witness()
    with pytest.raises(AppError, match="Order a new training") as caught:
        train(tmp_path, recipe, observer=witness, task=ToyTask(data_sha256="other"))
    assert caught.value.code is ErrorCode.DATA_CHANGED
    assert caught.value.facts == {"step": before[-1]}
    assert (witness.rows, witness.rejected) == ([], [])
    result, _ = train(tmp_path, recipe)
    assert result.steps == recipe.max_steps, "on the old data it would have gone on"


def test_an_owner_who_lost_the_run_in_a_validation_writes_no_checkpoint(tmp_path: Path) -> None:
    class LosesInValidation(Witness):
        def stop_requested(self) -> StopReason | None:
            return StopReason.LEASE_LOST if any("validation_loss" in row for _, row in self.rows) else None

    witness = LosesInValidation()
    recipe = toy_recipe(eval_every_steps=5, checkpoint=keep_all(every=5))
    result, _ = train(tmp_path, recipe, observer=witness)
    assert result.stopped is StopReason.LEASE_LOST
    assert witness.saved == []
    assert CheckpointFolder(tmp_path).steps() == []


def test_resuming_gives_signs_of_life(tmp_path: Path) -> None:
    class Counts(Witness):
        asked = 0

        def stop_requested(self) -> StopReason | None:
            self.asked += 1
            return super().stop_requested()

    recipe = toy_recipe(max_steps=4, eval_every_steps=100, checkpoint=keep_all(best=False))
    train(tmp_path, recipe)
    witness = Counts()
    train(tmp_path, recipe, observer=witness)
    assert witness.asked >= 3, "once a file"


def test_a_checkpoint_that_was_passed_over_goes_with_the_next_save(tmp_path: Path) -> None:
    recipe = toy_recipe(checkpoint=keep_all(best=False))
    train(tmp_path, recipe, observer=Witness(stop_after=11))
    folder = CheckpointFolder(tmp_path)
    assert folder.steps() == [5, 10]
    for step in (5, 10):
        (folder.path_of(step) / "state.json").unlink()
    train(tmp_path, recipe, observer=Witness(stop_after=7))
    assert folder.steps() == [5]


def test_one_that_was_passed_over_and_written_again_counts_as_any_other(tmp_path: Path) -> None:
    recipe = toy_recipe(checkpoint=keep_all(best=False))
    train(tmp_path, recipe, observer=Witness(stop_after=11))
    folder = CheckpointFolder(tmp_path)
    (folder.path_of(10) / "state.json").unlink()
    train(tmp_path, recipe)
    assert folder.steps() == [5, 10, 12]
    assert folder.load(10).state.step == 10
