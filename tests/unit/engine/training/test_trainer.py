""""""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_trainer.core.contracts.training import CheckpointSpec, EarlyStoppingSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.training.checkpoint import CheckpointFolder
from tests.unit.engine.training.toys import (
    ToyTask,
    Witness,
    keep_all,
    patient,
    same,
    toy_recipe,
    train,
)


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
