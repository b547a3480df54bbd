import os
from collections.abc import Callable
from pathlib import Path

import pytest

from model_trainer.core.contracts.run import HandBack, LastCheckpoint
from model_trainer.engine.protocols import StopReason
from model_trainer.worker.event_mirror import EventMirror
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.observer import RunObserver
from model_trainer.worker.series import RunSeries
from tests.unit.engine.training.toys import toy_recipe
from tests.unit.worker.bench import Bench, wait_until


def _held(bench: Bench, tmp_path: Path) -> HeldRun:
    return HeldRun(
        store=bench.store,
        lease=bench.claimed(),
        user_id="ada",
        heartbeat_seconds=0.05,
        mirror=EventMirror(tmp_path / "events.jsonl"),
    )


def _observer(held: HeldRun, folder: Path, *, series: RunSeries | None = None) -> RunObserver:
    return RunObserver(
        held=held,
        series=series or RunSeries(folder),
        folder=folder,
        recipe=toy_recipe(),
        train_tokens=100,
        validation_tokens=10,
    )


def _cancel(bench: Bench, held: HeldRun) -> None:
    bench.store.request_cancel(held.run_id)
    wait_until(lambda: held.is_cancelled)


def _pause(bench: Bench, held: HeldRun) -> None:
    bench.store.request_pause(held.run_id)
    wait_until(lambda: held.is_paused)


def _hand_over(bench: Bench, held: HeldRun) -> None:
    held.hand_over()


def _take_away(bench: Bench, held: HeldRun) -> None:
    bench.store.release(held.lease, HandBack(message="taken away"))
    wait_until(lambda: held.is_lost)


Ask = Callable[[Bench, HeldRun], None]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ([], None),
        ([_pause], StopReason.PAUSE),
        ([_pause, _hand_over], StopReason.HAND_OVER),
        ([_pause, _hand_over, _cancel], StopReason.CANCEL),
        ([_pause, _hand_over, _cancel, _take_away], StopReason.LEASE_LOST),
    ],
    ids=["nothing", "pause", "hand over", "cancel", "lost"],
)
def test_the_engine_hears_the_reason_that_weighs_most(
    bench: Bench, tmp_path: Path, asked: list[Ask], reason: StopReason | None
) -> None:
    with _held(bench, tmp_path) as held:
        for ask in asked:
            ask(bench, held)
        assert _observer(held, tmp_path).stop_requested() is reason


def test_a_lost_owner_adds_no_row_to_its_successors_files(bench: Bench, tmp_path: Path) -> None:
    with _held(bench, tmp_path) as held, RunSeries(tmp_path) as series:
        observer = _observer(held, tmp_path, series=series)
        observer.logged(step=1, metrics={"loss": 2.0}, timings={})
        _take_away(bench, held)
        observer.logged(step=2, metrics={"loss": 1.0}, timings={})
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_checkpoint_is_named_in_the_record(bench: Bench, tmp_path: Path) -> None:
    with _held(bench, tmp_path) as held:
        path = tmp_path / "checkpoints" / "step-4"
        _observer(held, tmp_path).checkpoint_saved(step=4, path=path, num_bytes=7, metrics={})
    expected = LastCheckpoint(step=4, path="checkpoints/step-4", num_bytes=7)
    assert bench.store.get(held.run_id).checkpoint == expected
    assert "trainer.job.checkpoint_saved.v1" in bench.event_types(held.run_id)


def test_rows_are_forced_to_disk_when_they_are_there(bench: Bench, tmp_path: Path) -> None:
    synced: list[str] = []

    def sync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        os.fsync(descriptor)

    series = RunSeries(tmp_path, fsync=sync)
    series.sync()
    assert synced == []
    with series:
        series.append(step=1, metrics={"loss": 2.0}, timings={"step_seconds": 0.1})
    held = _held(bench, tmp_path)
    observer = RunObserver(
        held=held,
        series=series,
        folder=tmp_path,
        recipe=toy_recipe(),
        train_tokens=100,
        validation_tokens=10,
    )
    observer.rows_must_last()
    assert synced == ["metrics.jsonl", "timings.jsonl"]
