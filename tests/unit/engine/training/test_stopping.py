"""Runs that stop to go on later, runs that begin from another's weights, and when they save."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import nn

from model_trainer.core.contracts.run import Progress
from model_trainer.core.contracts.training import CheckpointSpec, Recipe
from model_trainer.core.errors import AppError, AskedToStop, ErrorCode
from model_trainer.core.failpoints import Failpoint
from model_trainer.engine.protocols import StopReason
from model_trainer.engine.training.checkpoint import CheckpointFolder, Snapshot
from tests.unit.engine.training.toys import ToyModel, ToyTask, Witness, keep_all, same, toy_recipe, train

KEEPING = [StopReason.PAUSE, StopReason.HAND_OVER]
RARELY = CheckpointSpec(every_steps=100, keep_last=100)


def rows_of(*witnesses: Witness) -> list[tuple[int, dict[str, float]]]:
    """Rows as they stand on disk when each run has rewound the ones of the run before."""
    rows: list[tuple[int, dict[str, float]]] = []
    for witness in witnesses:
        rows = [row for row in rows if row[0] <= (witness.resumed_at or 0)] + witness.rows
    return rows


def same_checkpoint(left: Snapshot, right: Snapshot) -> bool:
    return (
        left.state == right.state
        and left.training.keys() == right.training.keys()
        and all(torch.equal(left.training[name], right.training[name]) for name in left.training)
    )


@pytest.mark.parametrize("reason", KEEPING)
@pytest.mark.parametrize("stop_after", [1, 3, 4, 7, 11])
def test_a_stop_that_keeps_the_work_loses_no_step(
    tmp_path: Path, reason: StopReason, stop_after: int
) -> None:
    recipe = toy_recipe(checkpoint=RARELY)
    straight, first, second = Witness(), Witness(stop_after=stop_after, reason=reason), Witness()
    _, reference = train(tmp_path / "straight", recipe, observer=straight)
    stopped, _ = train(tmp_path / "resumed", recipe, observer=first)
    assert (stopped.stopped, stopped.steps) == (reason, stop_after)
    assert first.saved[-1] == stop_after
    _, model = train(tmp_path / "resumed", recipe, observer=second)
    assert second.resumed_at == stop_after
    assert same(model, reference)
    assert rows_of(first, second) == straight.rows
    assert same_checkpoint(*(CheckpointFolder(tmp_path / name).load(12) for name in ("straight", "resumed")))


@pytest.mark.parametrize("reason", KEEPING)
def test_a_step_that_is_saved_already_is_not_saved_again(tmp_path: Path, reason: StopReason) -> None:
    recipe = toy_recipe(checkpoint=keep_all(5, best=False))
    witness = Witness(stop_after=5, reason=reason)
    train(tmp_path, recipe, observer=witness)
    assert witness.saved == [5]
    again = Witness(stop_after=0, reason=reason)
    result, _ = train(tmp_path, recipe, observer=again)
    assert (result.steps, again.resumed_at, again.saved) == (5, 5, [])


def test_before_the_first_step_there_is_nothing_to_keep(tmp_path: Path) -> None:
    witness = Witness(stop_after=0, reason=StopReason.PAUSE)
    result, _ = train(tmp_path, toy_recipe(), observer=witness)
    assert (result.stopped, result.steps) == (StopReason.PAUSE, 0)
    assert CheckpointFolder(tmp_path).steps() == []


def test_a_cancel_while_the_last_checkpoint_is_awaited_ends_the_run(tmp_path: Path) -> None:
    class Cancels(Witness):
        def stop_requested(self) -> StopReason | None:
            at_end = any(step == 12 for step, _ in self.rows)
            return StopReason.CANCEL if at_end and self.rows_on_disk == len(self.rows) else None

    result, _ = train(tmp_path, toy_recipe(eval_every_steps=100), observer=Cancels())
    assert result.stopped is StopReason.CANCEL


def test_losing_the_lease_while_pausing_counts_more(tmp_path: Path) -> None:
    class Loses(Witness):
        asked = 0

        def stop_requested(self) -> StopReason | None:
            if super().stop_requested() is None:
                return None
            self.asked += 1
            return StopReason.PAUSE if self.asked == 1 else StopReason.LEASE_LOST

    result, _ = train(tmp_path, toy_recipe(checkpoint=RARELY), observer=Loses(stop_after=2))
    assert result.stopped is StopReason.LEASE_LOST


def test_losing_the_lease_while_an_earlier_checkpoint_is_awaited_writes_no_other(tmp_path: Path) -> None:
    class Loses(Witness):
        """After step 3 the disk is still busy with step 2, and the best weights want to be saved."""

        asked = 0

        def stop_requested(self) -> StopReason | None:
            if (
                self.progress
                and self.progress[-1].step == 2
                and any("validation_loss" in row for _, row in self.rows)
            ):
                self.asked += 1
                return StopReason.LEASE_LOST if self.asked > 1 else None
            return None

    opened = threading.Event()

    class Held(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            opened.set()
            super().shutdown(wait=wait, cancel_futures=cancel_futures)

    def held(point: Failpoint) -> None:
        assert opened.wait(20)

    folder = CheckpointFolder(tmp_path, reached=held)
    recipe = toy_recipe(checkpoint=CheckpointSpec(every_steps=2))
    result, _ = train(folder, recipe, observer=Loses(), thread=Held(1))
    assert result.stopped is StopReason.LEASE_LOST
    assert folder.steps() == []


class Interrupted(AskedToStop):
    """What a job raises inside an evaluation when it is asked to stop."""


class StopsInEvaluation(ToyTask):
    def __init__(self, witness: Witness, *, in_step: int) -> None:
        super().__init__()
        self.witness = witness
        self.in_step = in_step
        self.evaluations = 0

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        self.evaluations += 1
        if self.evaluations * 3 == self.in_step:
            self.witness.stop_after = 0
            raise Interrupted
        return super().evaluate(model)


@pytest.mark.parametrize("reason", KEEPING)
@pytest.mark.parametrize("in_step", [3, 6, 12])
def test_a_stop_inside_an_evaluation_keeps_the_step_and_evaluates_it_later(
    tmp_path: Path, reason: StopReason, in_step: int
) -> None:
    recipe = toy_recipe(checkpoint=RARELY)
    straight, first, second = Witness(), Witness(reason=reason), Witness()
    expected, reference = train(tmp_path / "straight", recipe, observer=straight)
    stopped, _ = train(
        tmp_path / "resumed", recipe, observer=first, task=StopsInEvaluation(first, in_step=in_step)
    )
    assert (stopped.stopped, stopped.steps) == (reason, in_step)
    assert CheckpointFolder(tmp_path / "resumed").load(in_step).state.evaluation_owed
    result, model = train(tmp_path / "resumed", recipe, observer=second)
    assert second.resumed_at == in_step
    assert same(model, reference)
    assert rows_of(first, second) == straight.rows
    assert (result.best_step, result.best_metrics) == (expected.best_step, expected.best_metrics)
    assert result.last_metrics == expected.last_metrics


def test_an_evaluation_interrupted_again_is_still_owed(tmp_path: Path) -> None:
    recipe = toy_recipe(checkpoint=RARELY)
    for _ in range(2):
        witness = Witness(reason=StopReason.HAND_OVER)
        train(tmp_path, recipe, observer=witness, task=StopsInEvaluation(witness, in_step=3))
    folder = CheckpointFolder(tmp_path)
    assert folder.steps() == [3]
    assert folder.load(3).state.evaluation_owed


@pytest.mark.parametrize("reason", [StopReason.CANCEL, StopReason.LEASE_LOST, None])
def test_a_fault_inside_an_evaluation_that_no_pause_explains_comes_out(
    tmp_path: Path, reason: StopReason | None
) -> None:
    class Faulty(ToyTask):
        def evaluate(self, model: nn.Module) -> dict[str, float]:
            if reason is not None:
                witness.stop_after, witness.reason = 0, reason
            raise Interrupted

    witness = Witness()
    with pytest.raises(Interrupted):
        train(tmp_path, toy_recipe(checkpoint=RARELY), observer=witness, task=Faulty())
    assert CheckpointFolder(tmp_path).steps() == []


def test_checkpoints_by_the_clock(tmp_path: Path) -> None:
    ticks = count()
    witness = Witness()
    recipe = toy_recipe(eval_every_steps=100, checkpoint=CheckpointSpec(every_seconds=5.0, keep_last=100))
    train(tmp_path, recipe, observer=witness, now=lambda: float(next(ticks)))
    assert witness.saved == [5, 10, 12], "the clock is read when it begins, once a step and once at a save"


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    class Poisons(Witness):
        def stepped(self, progress: Progress) -> None:
            super().stepped(progress)
            if progress.step == 4:
                with torch.no_grad():
                    model.head.weight[0, 0] = float("nan")

    model = ToyModel()
    recipe = toy_recipe(eval_every_steps=100, log_every_steps=100, checkpoint=keep_all(3, best=False))
    witness = Poisons(stop_after=4, reason=StopReason.PAUSE)
    with pytest.raises(AppError, match=r"head\.weight was not finite in step 4") as caught:
        train(tmp_path, recipe, observer=witness, model=model)
    assert caught.value.code is ErrorCode.DIVERGED
    assert CheckpointFolder(tmp_path).steps() == [3]


def finished(folder: Path, recipe: Recipe) -> Snapshot:
    train(folder, recipe)
    return CheckpointFolder(folder).load(12)


def test_a_run_may_begin_with_the_weights_of_another(tmp_path: Path) -> None:
    start = finished(tmp_path / "parent", toy_recipe(checkpoint=keep_all(best=False)))
    bare = Snapshot(state=start.state, model=start.model, training={})
    recipe = toy_recipe(max_steps=6, seed=8)
    taken = ToyModel()
    with torch.no_grad():
        for name, tensor in (dict(taken.named_parameters()) | dict(taken.named_buffers())).items():
            tensor.copy_(start.model[name])
    _, reference = train(tmp_path / "by hand", recipe, model=taken)
    witness = Witness()
    _, model = train(tmp_path / "child", recipe, start=bare, observer=witness)
    assert same(model, reference)
    assert witness.resumed_at is None
    assert [progress.step for progress in witness.progress] == [1, 2, 3, 4, 5, 6]


def test_the_optimizers_state_is_taken_along_if_it_is_given(tmp_path: Path) -> None:
    start = finished(tmp_path / "parent", toy_recipe(checkpoint=keep_all(best=False)))
    bare = Snapshot(state=start.state, model=start.model, training={})
    recipe = toy_recipe(max_steps=6, seed=8, checkpoint=keep_all(best=False))
    train(tmp_path / "with", recipe, start=start)
    train(tmp_path / "without", recipe, start=bare)
    counts = [
        CheckpointFolder(tmp_path / name).load(6).training["optimizer/adamw_matrices/head.weight/step"].item()
        for name in ("with", "without")
    ]
    assert counts == [18.0, 6.0]


def test_a_checkpoint_of_its_own_counts_more_than_what_a_run_began_from(tmp_path: Path) -> None:
    start = finished(tmp_path / "parent", toy_recipe(checkpoint=keep_all(best=False)))
    recipe = toy_recipe(seed=8)
    _, reference = train(tmp_path / "straight", recipe, start=start)
    train(tmp_path / "child", recipe, start=start, observer=Witness(stop_after=7, reason=StopReason.PAUSE))
    witness = Witness()
    _, model = train(tmp_path / "child", recipe, start=start, observer=witness)
    assert witness.resumed_at == 7
    assert same(model, reference)


def test_weights_of_another_model_are_no_beginning(tmp_path: Path) -> None:
    start = finished(tmp_path / "parent", toy_recipe(checkpoint=keep_all(best=False)))
    with pytest.raises(AppError, match="another model") as caught:
        train(tmp_path / "child", toy_recipe(), start=start, model=nn.Linear(3, 1))
    assert caught.value.code is ErrorCode.CHECKPOINT_INVALID


def test_an_optimizer_state_that_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    start = finished(tmp_path / "parent", toy_recipe(checkpoint=keep_all(best=False)))
    name = "optimizer/adamw_matrices/head.weight/exp_avg_sq"
    poisoned = start.training | {name: torch.full_like(start.training[name], float("inf"))}
    recipe = toy_recipe(seed=8, checkpoint=keep_all(3, best=False))
    with pytest.raises(AppError, match="exp_avg_sq was not finite in step 3") as caught:
        train(
            tmp_path / "child",
            recipe,
            start=Snapshot(state=start.state, model=start.model, training=poisoned),
        )
    assert caught.value.code is ErrorCode.DIVERGED
    assert CheckpointFolder(tmp_path / "child").steps() == []


def test_what_a_run_begins_from_is_not_trained(tmp_path: Path) -> None:
    start = finished(tmp_path / "parent", toy_recipe(checkpoint=keep_all(best=False)))
    train(tmp_path / "child", toy_recipe(seed=8), start=start)
    untouched = CheckpointFolder(tmp_path / "parent").load(12)
    for ours, theirs in ((start.model, untouched.model), (start.training, untouched.training)):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_losing_the_lease_while_a_pause_waits_for_an_earlier_checkpoint_writes_no_other(
    tmp_path: Path,
) -> None:
    class Loses(Witness):
        asked = 0

        def stop_requested(self) -> StopReason | None:
            if not self.progress or self.progress[-1].step < 3:
                return None
            self.asked += 1
            return StopReason.PAUSE if self.asked == 1 else StopReason.LEASE_LOST

    opened = threading.Event()

    class Held(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            opened.set()
            super().shutdown(wait=wait, cancel_futures=cancel_futures)

    def held(point: Failpoint) -> None:
        assert opened.wait(20)

    folder = CheckpointFolder(tmp_path, reached=held)
    recipe = toy_recipe(eval_every_steps=100, checkpoint=CheckpointSpec(every_steps=2))
    result, _ = train(folder, recipe, observer=Loses(), thread=Held(1))
    assert (result.stopped, result.steps) == (StopReason.LEASE_LOST, 3)
    assert folder.steps() == []
