from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_trainer.core.contracts.training import CheckpointSpec, EarlyStoppingSpec, OptimizerName, Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.protocols import StopReason
from model_trainer.engine.training.checkpoint import CheckpointFolder
from tests.unit.engine.training.toys import ToyModel, ToyTask, Witness, patient, toy_recipe, train


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = tensors(left), tensors(right)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def keep_all(every: int = 5, *, best: bool = True) -> CheckpointSpec:
    return CheckpointSpec(every_steps=every, keep_last=100, keep_best=best)


def test_a_run_learns_and_says_what_it_did(tmp_path: Path) -> None:
    witness = Witness()
    result, model = train(
        tmp_path, toy_recipe(max_steps=40, eval_every_steps=20, schedule="constant"), observer=witness
    )
    assert (result.steps, result.total_steps, result.stopped, result.early_stopped) == (40, 40, None, False)
    assert witness.configuration == (40, sum(p.numel() for p in model.parameters()), 8)
    assert result.tokens_seen == 320
    losses = [row["loss"] for _, row in witness.rows if "loss" in row]
    assert losses[-1] < 0.6 * losses[0]
    assert set(result.timings_seconds) == {"train", "evaluate", "checkpoint"}
    assert witness.resumed_at is None


def test_rows_come_at_the_first_step_at_each_interval_and_at_the_end(tmp_path: Path) -> None:
    witness = Witness()
    result, _ = train(tmp_path, toy_recipe(max_steps=10), observer=witness)
    assert [step for step, row in witness.rows if "loss" in row] == [1, 4, 8, 10]
    assert [step for step, row in witness.rows if "validation_loss" in row] == [3, 6, 9, 10]
    last = witness.rows[-1][1]
    names = {"loss", "gradient_norm", "learning_rate", "tokens_seen", "epoch", "validation_loss"}
    assert set(last) == names
    assert (last["tokens_seen"], last["epoch"]) == (80.0, 1.25)
    assert last["learning_rate"] == pytest.approx(0.05 * 0.2)
    assert result.last_metrics == last
    timed = {"step_seconds", "tokens_per_second", "samples_per_second", "memory_bytes", "eta_seconds"}
    assert [set(row) for row in witness.timings] == [timed, set(), timed, set(), timed, set(), timed]
    assert witness.timings[-1]["eta_seconds"] == 0.0


def test_rows_hold_the_learning_rate_of_muons_matrices_as_well(tmp_path: Path) -> None:
    witness = Witness()
    recipe = toy_recipe(max_steps=10, optimizer="muon", matrix_learning_rate=0.02)
    train(tmp_path, recipe, observer=witness)
    last = witness.rows[-1][1]
    assert last["matrix_learning_rate"] == pytest.approx(0.02 * 0.2)
    assert last["learning_rate"] == pytest.approx(0.05 * 0.2)


def test_progress_is_told_after_every_step(tmp_path: Path) -> None:
    witness = Witness()
    train(tmp_path, toy_recipe(max_steps=4), observer=witness)
    assert [progress.step for progress in witness.progress] == [1, 2, 3, 4]
    assert [progress.fraction for progress in witness.progress] == [0.25, 0.5, 0.75, 1.0]
    assert witness.progress[1].epoch == 0.25
    assert witness.progress[-1].eta_seconds == 0.0


def test_training_and_validation_see_the_model_in_their_own_mode(tmp_path: Path) -> None:
    task = ToyTask()
    train(tmp_path, toy_recipe(max_steps=3), task=task)
    assert task.modes == [True, True, True, False]


def test_two_runs_of_one_recipe_are_bitwise_the_same(tmp_path: Path) -> None:
    first, second = Witness(), Witness()
    _, one = train(tmp_path / "a", toy_recipe(), observer=first)
    torch.rand(17)  # whatever was drawn before does not matter
    _, other = train(tmp_path / "b", toy_recipe(), observer=second)
    assert same(one, other)
    assert first.rows == second.rows


def test_micro_batches_give_the_gradient_of_their_mean(tmp_path: Path) -> None:
    class Halves(ToyTask):
        def loss(self, model: nn.Module, *, step: int, micro_step: int) -> Tensor:
            weight: Tensor = model.get_parameter("weight")
            return (3.0 - 2.0 * micro_step) * weight.sum()

    class Whole(ToyTask):
        def loss(self, model: nn.Module, *, step: int, micro_step: int) -> Tensor:
            weight: Tensor = model.get_parameter("weight")
            return 2.0 * weight.sum()

    def linear() -> nn.Module:
        model = nn.Linear(2, 1, bias=False)
        nn.init.ones_(model.weight)
        return model

    changes: dict[str, object] = {
        "optimizer": "sgd",
        "gradient_clip_norm": 0.0,
        "eval_every_steps": 100,
        "max_steps": 3,
    }
    split, joint = Witness(), Witness()
    validation = [0.0]
    _, halves = train(
        tmp_path / "a",
        toy_recipe(gradient_accumulation_steps=2, batch_size=1, **changes),
        task=Halves(validation=validation),
        model=linear(),
        observer=split,
    )
    _, whole = train(
        tmp_path / "b",
        toy_recipe(**changes),
        task=Whole(validation=validation),
        model=linear(),
        observer=joint,
    )
    assert same(halves, whole)
    assert split.rows[0][1]["loss"] == joint.rows[0][1]["loss"]
    # Two weights with gradient 2 each.
    assert split.rows[0][1]["gradient_norm"] == pytest.approx(8**0.5)


def test_gradients_are_clipped_to_the_norm_and_reported_before_that(tmp_path: Path) -> None:
    class Steep(ToyTask):
        def loss(self, model: nn.Module, *, step: int, micro_step: int) -> Tensor:
            weight: Tensor = model.get_parameter("weight")
            return 100.0 * weight.sum()

    model = nn.Linear(4, 1, bias=False)
    nn.init.zeros_(model.weight)
    witness = Witness()
    recipe = toy_recipe(optimizer="sgd", learning_rate=1.0, weight_decay=0.0, warmup_steps=0, max_steps=1)
    train(tmp_path, recipe, task=Steep(validation=[0.0]), model=model, observer=witness)
    assert witness.rows[0][1]["gradient_norm"] == pytest.approx(200.0)
    assert float(model.weight.detach().norm()) == pytest.approx(1.0, abs=1e-4)


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


def test_a_loss_that_is_not_a_number_stops_the_run_and_the_last_good_checkpoint_stays(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="step 7") as caught:
        train(tmp_path, toy_recipe(eval_every_steps=100, log_every_steps=100), task=ToyTask(poisoned_step=6))
    assert caught.value.code is ErrorCode.DIVERGED
    folder = CheckpointFolder(tmp_path)
    assert folder.steps() == [5]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in folder.load(5).model.values())


def test_gradients_alone_that_are_not_finite_stop_the_run_before_its_weights_are_saved(
    tmp_path: Path,
) -> None:
    class InfiniteSlope(ToyTask):
        def loss(self, model: nn.Module, *, step: int, micro_step: int) -> Tensor:
            weight: Tensor = model.get_parameter("weight")
            return weight.sum() * 0 + (weight - weight.detach()).abs().sum().sqrt()

    with pytest.raises(AppError, match="gradient norm"):
        train(tmp_path, toy_recipe(optimizer="sgd"), task=InfiniteSlope(), model=nn.Linear(2, 1, bias=False))
    assert CheckpointFolder(tmp_path).steps() == []


def test_fp16_passes_over_a_step_whose_gradients_overflow(tmp_path: Path) -> None:
    class OverflowOnce(ToyTask):
        def loss(self, model: nn.Module, *, step: int, micro_step: int) -> Tensor:
            weight: Tensor = model.get_parameter("weight")
            return weight.sum() * (1e34 if step == 0 else 1.0)

    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    witness = Witness()
    recipe = toy_recipe(optimizer="sgd", precision="fp16", max_steps=2, warmup_steps=0, weight_decay=0.0)
    train(tmp_path, recipe, task=OverflowOnce(validation=[0.0]), model=model, observer=witness)
    state = CheckpointFolder(tmp_path).load(2).state
    assert state.loss_scale.scale == 2.0**15
    assert bool(torch.isfinite(model.weight).all())
    assert not bool((model.weight == 0).any())
    assert "gradient_norm" not in witness.rows[0][1]
    assert witness.rows[-1][1]["gradient_norm"] == pytest.approx(2**0.5)


def test_the_model_ends_with_the_best_weights(tmp_path: Path) -> None:
    result, model = train(
        tmp_path, toy_recipe(checkpoint=keep_all()), task=ToyTask(validation=[2.0, 1.0, 3.0, 4.0])
    )
    assert result.best_step == 6
    assert result.best_metrics == {"validation_loss": 1.0}
    saved = CheckpointFolder(tmp_path).load(6).model
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())


def test_without_keep_best_the_model_ends_with_the_last_weights(tmp_path: Path) -> None:
    recipe = toy_recipe(checkpoint=keep_all(best=False))
    _, model = train(tmp_path, recipe, task=ToyTask(validation=[2.0, 1.0, 3.0, 4.0]))
    saved = CheckpointFolder(tmp_path).load(12).model
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    assert CheckpointFolder(tmp_path).steps() == [5, 10, 12]


def test_the_best_and_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    recipe = toy_recipe(checkpoint=CheckpointSpec(every_steps=1, keep_last=2))
    train(tmp_path, recipe, task=ToyTask(validation=[1.0, 2.0, 3.0, 4.0]))
    assert CheckpointFolder(tmp_path).steps() == [3, 11, 12]


def test_when_the_best_checkpoint_is_damaged_the_last_weights_stay_and_it_is_said(tmp_path: Path) -> None:
    class Vandal(Witness):
        def checkpoint_saved(
            self, *, step: int, path: Path, num_bytes: int, metrics: dict[str, float]
        ) -> None:
            if step == 3:
                (path / "model.safetensors").unlink()

    witness = Vandal()
    result, model = train(
        tmp_path, toy_recipe(), task=ToyTask(validation=[1.0, 2.0, 3.0, 4.0]), observer=witness
    )
    saved = CheckpointFolder(tmp_path).load(12).model
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    assert witness.rejected[0].startswith("step-0000000003")
    assert (result.best_step, result.best_metrics) == (12, {"validation_loss": 4.0})


def test_a_run_that_no_longer_improves_stops_early_and_that_is_a_result(tmp_path: Path) -> None:
    recipe = toy_recipe(max_steps=30, early_stopping=patient(2))
    task = ToyTask(validation=[2.0, 1.0, 1.5, 1.6, 0.1])
    result, _ = train(tmp_path, recipe, task=task)
    assert result.early_stopped
    assert result.stopped is None
    assert (result.steps, result.best_step) == (12, 6)
    again, _ = train(tmp_path, recipe, task=ToyTask(validation=[]))
    assert (again.early_stopped, again.steps) == (True, 12)


def test_early_stopping_can_watch_accuracy(tmp_path: Path) -> None:
    class Accurate(ToyTask):
        def evaluate(self, model: nn.Module) -> dict[str, float]:
            return {"loss": 1.0, "accuracy": super().evaluate(model)["loss"]}

    recipe = toy_recipe(early_stopping=EarlyStoppingSpec(metric="accuracy", patience=1))
    result, _ = train(tmp_path, recipe, task=Accurate(validation=[0.5, 0.7, 0.6]))
    assert (result.best_step, result.steps) == (6, 9)


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
