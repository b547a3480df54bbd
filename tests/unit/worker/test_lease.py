import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.contracts.events import Event, JobProgress, JobResumed, MetricsProgress
from model_trainer.core.contracts.run import (
    Flags,
    HandBack,
    LastCheckpoint,
    Lease,
    Phase,
    Progress,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.worker.event_mirror import EventMirror
from model_trainer.worker.lease import Cancelled, HandedOver, HeldRun, Paused
from tests.unit.worker.bench import Bench, ShakyStore, wait_until


def _held(
    bench: Bench,
    tmp_path: Path,
    *,
    heartbeat_seconds: float = 0.05,
    most_events: int = 10_000,
    stall_seconds: float = 300.0,
    abandon: Callable[[], None] = lambda: None,
) -> HeldRun:
    return HeldRun(
        store=bench.store,
        lease=bench.claimed(),
        user_id="ada",
        heartbeat_seconds=heartbeat_seconds,
        mirror=EventMirror(tmp_path / "events.jsonl"),
        most_events=most_events,
        stall_seconds=stall_seconds,
        abandon=abandon,
    )


def _row(step: int, run_id: str) -> MetricsProgress:
    return MetricsProgress(job_id=run_id, user_id="ada", step=step, metrics={"loss": 2.0}, timings={})


def _after_a_heartbeat(bench: Bench, held: HeldRun) -> None:
    held.advance(Progress(step=1))
    wait_until(lambda: bench.store.get(held.run_id).progress.step == 1)


def test_phase_progress_and_metrics_reach_the_record(bench: Bench, tmp_path: Path) -> None:
    with _held(bench, tmp_path) as held:
        held.enter_phase(Phase.TRAINING, "Training")
        held.advance(Progress(step=3, total_steps=10, fraction=0.3))
        held.set_metrics({"loss": 1.5})
        wait_until(lambda: bench.store.get(held.run_id).progress.step == 3)
        record = bench.store.get(held.run_id)
        assert (record.phase, record.message, record.metrics) == (Phase.TRAINING, "Training", {"loss": 1.5})
        assert held.current_step() == 3
        assert held.latest_metrics() == {"loss": 1.5}


def test_events_arrive_once_and_in_order_and_are_mirrored(bench: Bench, tmp_path: Path) -> None:
    with _held(bench, tmp_path) as held:
        for step in range(1, 6):
            held.emit(_row(step, held.run_id))
        wait_until(lambda: bench.event_types(held.run_id).count("trainer.metrics.progress.v1") == 5)
        wait_until(lambda: (tmp_path / "events.jsonl").exists())
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert len(lines) >= 5
    assert held.remaining_events() == ()


def test_small_steps_of_progress_do_not_fill_the_stream(bench: Bench, tmp_path: Path) -> None:
    with _held(bench, tmp_path) as held:
        held.enter_phase(Phase.TRAINING, "Training")
        held.advance(Progress(step=1, total_steps=10_000, fraction=0.0001))
        wait_until(lambda: bench.store.get(held.run_id).progress.step == 1)
        assert bench.event_types(held.run_id).count("trainer.job.progress.v1") == 1
        held.advance(Progress(step=100, total_steps=10_000, fraction=0.01))
        wait_until(lambda: bench.event_types(held.run_id).count("trainer.job.progress.v1") == 2)


def test_a_cancel_is_seen_between_two_heartbeats(bench: Bench, tmp_path: Path) -> None:
    with _held(bench, tmp_path, heartbeat_seconds=60) as held:
        held.check()
        _after_a_heartbeat(bench, held)
        wait_until(lambda: bench.store.looks > 0)
        bench.store.request_cancel(held.run_id)
        wait_until(lambda: held.is_cancelled)
        with pytest.raises(Cancelled):
            held.report(0.5, "half")
        with pytest.raises(Cancelled):
            held.enter_phase(Phase.EVALUATING, "Evaluating")


def test_a_cancel_is_seen_with_a_heartbeat(bench: Bench, tmp_path: Path) -> None:
    held = _held(bench, tmp_path, heartbeat_seconds=0.0)
    bench.store.request_cancel(held.run_id)
    with held:
        wait_until(lambda: held.is_cancelled)


@pytest.mark.parametrize("heartbeat_seconds", [0.0, 60.0])
def test_a_stale_owner_is_told_to_stop(bench: Bench, tmp_path: Path, heartbeat_seconds: float) -> None:
    with _held(bench, tmp_path, heartbeat_seconds=heartbeat_seconds) as held:
        _after_a_heartbeat(bench, held)
        bench.store.release(held.lease, HandBack(message="taken away"))
        wait_until(lambda: held.is_lost)
        with pytest.raises(AppError) as caught:
            held.check()
    assert caught.value.code is ErrorCode.LEASE_LOST
    assert bench.store.get(held.run_id).status is RunStatus.QUEUED


def test_work_goes_on_while_the_store_is_away_and_nothing_is_lost(bench: Bench, tmp_path: Path) -> None:
    with _held(bench, tmp_path) as held:
        _after_a_heartbeat(bench, held)
        bench.store.away = True
        held.emit(_row(1, held.run_id))
        held.report(0.25, "a quarter")
        held.check()
        wait_until(lambda: bench.store.refused > 2)
        bench.store.away = False
        wait_until(lambda: "trainer.metrics.progress.v1" in bench.event_types(held.run_id))
        assert bench.store.get(held.run_id).progress.fraction == 0.25


def test_when_the_buffer_is_full_rows_give_way_and_news_of_the_run_does_not(
    bench: Bench, tmp_path: Path
) -> None:
    held = _held(bench, tmp_path, most_events=2)
    for step in range(1, 5):
        held.emit(_row(step, held.run_id))
    held.emit(JobResumed(job_id=held.run_id, user_id="ada", step=7))
    waiting = held.remaining_events()
    assert [event.type for event in waiting] == [
        "trainer.metrics.progress.v1",
        "trainer.metrics.progress.v1",
        "trainer.job.resumed.v1",
    ]


def test_progress_gives_way_in_a_long_outage_and_is_told_when_there_is_room(
    bench: Bench, tmp_path: Path
) -> None:
    with _held(bench, tmp_path, heartbeat_seconds=0.0, most_events=2) as held:
        _after_a_heartbeat(bench, held)
        bench.store.away = True
        for percent in range(1, 20):
            held.advance(Progress(step=percent, total_steps=100, fraction=percent / 100))
            _after_two_refusals(bench)
        bench.store.away = False
        wait_until(lambda: _progress_told(bench, held.run_id)[-1:] == [0.19])
    assert _progress_told(bench, held.run_id) == [0.0, 0.01, 0.02, 0.19]


def _after_two_refusals(bench: Bench) -> None:
    before = bench.store.refused
    wait_until(lambda: bench.store.refused >= before + 2)


def _progress_told(bench: Bench, run_id: str) -> list[float]:
    rows = bench.store.events_after(run_id, after=0, limit=100)
    return [row.event.progress.fraction for row in rows if isinstance(row.event, JobProgress)]


def test_the_heartbeat_tells_how_long_the_work_has_been_silent(bench: Bench, tmp_path: Path) -> None:
    bench.now = 2_000_000.0
    with _held(bench, tmp_path) as held:
        held.advance(Progress(step=1, total_steps=9))
        time.sleep(0.3)
        wait_until(lambda: bench.store.get(held.run_id).progress.step == 1)

        def silence_ms() -> int:
            record = bench.store.get(held.run_id)
            return record.updated_at_ms - (record.heartbeat_at_ms or 0)

        wait_until(lambda: silence_ms() >= 250)
        held.check()
        wait_until(lambda: silence_ms() < 250)


def test_a_step_loop_that_hangs_loses_its_lease_and_is_abandoned(bench: Bench, tmp_path: Path) -> None:
    abandoned = threading.Event()
    with _held(bench, tmp_path, stall_seconds=0.2, abandon=abandoned.set) as held:
        held.advance(Progress(step=1, total_steps=9))
        held.advance(Progress(step=2, total_steps=9))
        assert abandoned.wait(10)
    assert "trainer.job.failed.v1" not in bench.event_types(held.run_id)


def test_a_long_call_into_a_library_is_not_taken_for_a_hang(bench: Bench, tmp_path: Path) -> None:
    abandoned = threading.Event()
    with _held(bench, tmp_path, stall_seconds=0.05, abandon=abandoned.set) as held:
        held.enter_phase(Phase.VALIDATING, "Reading")
        time.sleep(0.2)
    assert not abandoned.is_set()


def test_an_outage_is_one_line_of_the_log(bench: Bench, tmp_path: Path) -> None:
    with capture_logs() as lines, _held(bench, tmp_path, heartbeat_seconds=0.2) as held:
        _after_a_heartbeat(bench, held)
        bench.store.away = True
        wait_until(lambda: bench.store.refused > 4)
        bench.store.away = False
        held.advance(Progress(step=2))
        wait_until(lambda: bench.store.get(held.run_id).progress.step == 2)
    assert [line["event"] for line in lines].count("store_away") == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_job_whose_lease_thread_breaks_does_not_go_on(bench: Bench, tmp_path: Path) -> None:
    with _held(bench, tmp_path) as held:
        bench.store.broken = True
        wait_until(lambda: held.is_lost)
        with pytest.raises(AppError) as caught:
            held.check()
    assert caught.value.code is ErrorCode.LEASE_LOST


@pytest.mark.parametrize("heartbeat_seconds", [0.0, 60.0])
def test_a_pause_is_seen_with_a_heartbeat_and_between_two(
    bench: Bench, tmp_path: Path, heartbeat_seconds: float
) -> None:
    with _held(bench, tmp_path, heartbeat_seconds=heartbeat_seconds) as held:
        _after_a_heartbeat(bench, held)
        bench.store.request_pause(held.run_id)
        wait_until(lambda: held.is_paused)
        with pytest.raises(Paused):
            held.check()


def test_the_lease_goes_before_a_cancel_a_cancel_before_a_hand_over_and_that_before_a_pause(
    bench: Bench, tmp_path: Path
) -> None:
    with _held(bench, tmp_path) as held:
        bench.store.request_pause(held.run_id)
        wait_until(lambda: held.is_paused)
        held.hand_over()
        with pytest.raises(HandedOver):
            held.check()
        assert held.must_hand_over
        bench.store.request_cancel(held.run_id)
        wait_until(lambda: held.is_cancelled)
        with pytest.raises(Cancelled):
            held.check()
        bench.store.release(held.lease, HandBack(message="taken away"))
        wait_until(lambda: held.is_lost)
        with pytest.raises(AppError):
            held.check()


def test_a_checkpoint_reaches_the_record_once_the_store_is_there(bench: Bench, tmp_path: Path) -> None:
    first, second = (
        LastCheckpoint(step=step, path=f"checkpoints/step-{step}", num_bytes=10) for step in (5, 9)
    )
    with _held(bench, tmp_path) as held:
        held.set_checkpoint(first)
        wait_until(lambda: bench.store.get(held.run_id).checkpoint == first)
        bench.store.away = True
        wait_until(lambda: bench.store.refused > 0)
        held.set_checkpoint(second)
        bench.store.away = False
        wait_until(lambda: bench.store.get(held.run_id).checkpoint == second)


def test_the_last_step_and_checkpoint_are_told_before_the_run_is_given_up(
    bench: Bench, tmp_path: Path
) -> None:
    last = LastCheckpoint(step=8, path="checkpoints/step-8", num_bytes=10)
    with _held(bench, tmp_path, heartbeat_seconds=60) as held:
        _after_a_heartbeat(bench, held)
        held.advance(Progress(step=8))
        held.set_checkpoint(last)
    record = bench.store.get(held.run_id)
    assert (record.progress.step, record.checkpoint) == (8, last)


def test_a_checkpoint_that_was_told_is_not_told_again(bench: Bench, tmp_path: Path) -> None:
    with _held(bench, tmp_path) as held:
        held.set_checkpoint(LastCheckpoint(step=5, path="checkpoints/step-5", num_bytes=10))
        wait_until(lambda: bench.store.get(held.run_id).checkpoint is not None)
        _after_a_heartbeat(bench, held)
    told = [update.checkpoint for update in bench.store.updates if update.checkpoint is not None]
    assert len(told) == 1


class FrozenThread(ShakyStore):
    """Holds whoever brings a heartbeat, as a stopped process' threads are held."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(queue=bench.queue, clock=lambda: bench.now, announce=lambda _: None)
        self.updates = []
        self.beating = threading.Event()
        self.thawed = threading.Event()

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...] = ()) -> Flags:
        self.beating.set()
        assert self.thawed.wait(20)
        return super().heartbeat(lease, update, events)


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_process_that_wakes_up_asks_before_its_thread_does(
    bench: Bench, tmp_path: Path, is_lost: bool
) -> None:
    bench.store = store = FrozenThread(bench)
    run_id = bench.submitted()
    lease = store.claim(run_id, epoch=0, owner="worker-1", host="here", lease_seconds=0.2)
    assert lease is not None
    held = HeldRun(
        store=store,
        lease=lease,
        user_id=None,
        heartbeat_seconds=0.01,
        mirror=EventMirror(tmp_path / "events.jsonl"),
    )
    with held:
        assert store.beating.wait(20)
        if is_lost:
            bench.now += 1
            assert store.reap() == (run_id,)
        wait_until(lambda: store.looks > 0 or held.is_lost)
        assert held.is_lost is is_lost
        store.thawed.set()


class LateAnswers(ShakyStore):
    """A process is frozen after its heartbeat was answered, and before it read the answer."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(queue=bench.queue, clock=lambda: bench.now, announce=lambda _: None)
        self.updates = []
        self.answered = threading.Event()
        self.thawed = threading.Event()
        self.read = threading.Event()
        self.over = threading.Event()

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...] = ()) -> Flags:
        flags = super().heartbeat(lease, update, events)
        self.answered.set()
        assert self.thawed.wait(20)
        return flags

    def flags(self, lease: Lease) -> Flags:
        if threading.current_thread() is not threading.main_thread():
            self.read.set()
            assert self.over.wait(20)
        return super().flags(lease)


def test_an_answer_that_waited_for_a_frozen_process_is_no_news(bench: Bench, tmp_path: Path) -> None:
    bench.store = store = LateAnswers(bench)
    lease = store.claim(bench.submitted(), epoch=0, owner="worker-1", host="here", lease_seconds=0.2)
    assert lease is not None
    mirror = EventMirror(tmp_path / "events.jsonl")
    with HeldRun(store=store, lease=lease, user_id=None, heartbeat_seconds=60, mirror=mirror) as held:
        assert store.answered.wait(20)
        bench.now += 1
        store.reap()
        time.sleep(0.15)
        store.thawed.set()
        assert store.read.wait(20)
        assert held.is_lost
        store.over.set()
