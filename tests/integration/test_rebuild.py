"""Redis loses everything while runs stand in every state and one is being worked on; the disk brings all of it back."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from model_trainer.cli import ways
from model_trainer.container import Container, live
from model_trainer.core.config import Settings
from model_trainer.core.contracts.events import JobCompleted, JobFailed, StoredEvent
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    HandBack,
    LastCheckpoint,
    Lease,
    Outcome,
    Phase,
    Problem,
    Progress,
    RunKind,
    RunQuery,
    RunRecord,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from model_trainer.maintenance.chores import rebuild
from model_trainer.worker.event_mirror import EventMirror
from model_trainer.worker.lease import HeldRun
from tests.contract.run_stores import new_run

PATIENCE_SECONDS = 20.0
LOST_ON_PURPOSE = {"lease_until_ms"}
"""A run that was held is held anew: for one lease from the rebuild on."""


class House:
    """An installation with a real Redis."""

    def __init__(self, settings: Settings) -> None:
        self.container: Container = live(settings)
        self.redis_url = settings.redis_url.get_secret_value()
        self.runs = self.container.runs

    def submitted(self, kind: RunKind = RunKind.TRAIN, *, parent: str | None = None) -> str:
        run = new_run(
            kind=kind,
            queue="training" if kind is RunKind.TRAIN else "short",
            spec={"seed": 7, "note": "naïve"},
            user_id="ada",
            metadata={"team": "red"},
            parent_run_id=parent,
        )
        return self.runs.submit(run, idempotency=None).record.run_id

    def claimed(self) -> Lease:
        run_id = self.submitted()
        self.container.artifacts.create("models", run_id)
        epoch = self.runs.get(run_id).epoch
        host = self.container.locks.host
        lease = self.runs.claim(run_id, epoch=epoch, owner="w", host=host, lease_seconds=15)
        assert lease is not None
        self.runs.heartbeat(
            lease,
            RunUpdate(
                phase=Phase.TRAINING,
                message="Step 4.",
                progress=Progress(step=4, total_steps=9, fraction=4 / 9),
                metrics={"loss": 2.5},
                checkpoint=LastCheckpoint(step=4, path="checkpoints/step-4", num_bytes=1000),
            ),
        )
        return lease

    def mirror(self, run_id: str) -> EventMirror:
        return EventMirror(self.container.artifacts.folder("models", run_id) / "events.jsonl")

    def on_disk(self, run_id: str) -> str:
        return (self.container.artifacts.folder("models", run_id) / "events.jsonl").read_text()

    def kept(self, run_id: str) -> RunRecord:
        """The run's record, as its owner or the API left it on disk together with its events."""
        record = self.runs.get(run_id)
        self.container.artifacts.keep_record(record)
        if self.container.artifacts.exists("models", run_id):
            self.mirror(run_id).catch_up(self.runs, run_id)
        return record

    def events(self, run_id: str) -> tuple[StoredEvent, ...]:
        return self.runs.events_after(run_id, after=0, limit=1000)

    def lose_everything(self) -> None:
        with Redis.from_url(self.redis_url) as client:
            client.flushall()

    def listed(self, status: RunStatus) -> set[str]:
        pages = [self.runs.list_runs(RunQuery(kind=kind, limit=100, status=status)) for kind in RunKind]
        return {record.run_id for page in pages for record in page.records}


@pytest.fixture
def house(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("REDIS_URL", redis_url)
    for name in ("ARTIFACTS_ROOT", "RUNS_ROOT", "LOGS_ROOT", "DATA_ROOT"):
        monkeypatch.setenv(f"APP__{name}", str(tmp_path / name.lower()))
    return House(ways.read_settings(None))


def in_every_state(house: House) -> list[RunRecord]:
    runs = house.runs
    queued, evaluation = house.submitted(), house.submitted(RunKind.EVALUATE, parent=new_ulid())
    tokenizer = house.submitted(RunKind.TOKENIZER)
    cancelled = house.submitted()
    runs.request_cancel(cancelled)
    running, cancelling, pausing = house.claimed(), house.claimed(), house.claimed()
    runs.request_cancel(cancelling.run_id)
    runs.request_pause(pausing.run_id)
    asked = house.submitted()
    runs.request_pause(asked)
    full, retried, failed, completed = house.claimed(), house.claimed(), house.claimed(), house.claimed()
    problem = Problem(code=ErrorCode.DISK_FULL, message="The disk is full.", exception="OSError: 28")
    stand_still = HandBack(
        status=RunStatus.PAUSED, message="Full.", reason=Reason.DISK_FULL, problem=problem, is_retry=True
    )
    runs.release(full, stand_still)
    runs.release(retried, HandBack(message="Again.", problem=problem, is_retry=True))
    bad_end = Outcome(status=RunStatus.FAILED, message="NaN.", reason=Reason.NAN_LOSS, problem=problem)
    failure = JobFailed(
        job_id=failed.run_id,
        user_id="ada",
        error_code=ErrorCode.DIVERGED,
        message="NaN.",
        reason=Reason.NAN_LOSS,
        failure_class=FailureClass.USER_INPUT,
    )
    runs.finish(failed, bad_end, (failure,))
    good_end = Outcome(
        status=RunStatus.COMPLETED, message="Done.", result={"a": [1, None]}, metrics={"loss": 1.5}
    )
    news = JobCompleted(job_id=completed.run_id, user_id="ada", message="Done.", metrics={"loss": 1.5})
    runs.finish(completed, good_end, (news,))
    chosen = house.claimed()
    runs.finish(chosen, Outcome(status=RunStatus.CANCELLED, message="Stopped."))
    runs.resume(chosen.run_id, step=4)
    leases = (running, cancelling, pausing, full, retried, failed, completed, chosen)
    others = (queued, evaluation, tokenizer, cancelled, asked)
    return [house.kept(run_id) for run_id in (*others, *(lease.run_id for lease in leases))]


def test_every_record_comes_back_field_by_field_with_its_events_and_its_place_in_lists(house: House) -> None:
    before = in_every_state(house)
    events = {record.run_id: house.events(record.run_id) for record in before}
    lists = {status: house.listed(status) for status in RunStatus}
    assert all(lists.values()), "a state is missing"
    house.lose_everything()

    rebuilt = rebuild(house.container, adopt=False)

    assert {one.run_id: one.fate for one in rebuilt} == {record.run_id: "restored" for record in before}
    for record in before:
        theirs, ours = house.runs.get(record.run_id).model_dump(), record.model_dump()
        assert {name for name in ours if ours[name] != theirs[name]} <= LOST_ON_PURPOSE
        assert house.events(record.run_id) == events[record.run_id]
    assert {status: house.listed(status) for status in RunStatus} == lists
    assert [one.fate for one in rebuild(house.container, adopt=False)] == ["known"] * len(before)


def test_what_waited_gets_an_order_again_and_what_its_owner_lost_goes_on(house: House) -> None:
    queued, dead = house.submitted(), house.claimed()
    for run_id in (queued, dead.run_id):
        house.kept(run_id)
    house.lose_everything()
    rebuild(house.container, adopt=False)

    holders = house.runs.held()
    assert [holder.run_id for holder in holders] == [dead.run_id]
    house.runs.reap(holders)

    for run_id in (queued, dead.run_id):
        record = house.runs.get(run_id)
        assert record.status is RunStatus.QUEUED
        assert house.container.queue.holds(run_id, epoch=record.epoch, queue="training")


def test_a_trainer_at_work_goes_on_through_the_loss_and_is_taken_up_again(house: House) -> None:
    lease = house.claimed()
    house.kept(lease.run_id)
    held = HeldRun(
        store=house.runs,
        lease=lease,
        user_id="ada",
        heartbeat_seconds=0.05,
        mirror=house.mirror(lease.run_id),
    )
    with held:
        held.enter_phase(Phase.TRAINING, "Before.")
        eventually(lambda: "Before." in house.on_disk(lease.run_id))
        house.lose_everything()
        held.enter_phase(Phase.EVALUATING, "Meanwhile.")
        eventually(lambda: held.is_lost or held_is_unheard(house, lease.run_id))
        held.check()
        rebuild(house.container, adopt=False)
        eventually(lambda: house.runs.get(lease.run_id).message == "Meanwhile.")
        held.check()
    done = JobCompleted(job_id=lease.run_id, user_id="ada", message="Done.", metrics={})
    outcome = Outcome(status=RunStatus.COMPLETED, message="Done.")
    house.runs.finish(lease, outcome, (*held.remaining_events(), done))
    house.mirror(lease.run_id).catch_up(house.runs, lease.run_id)

    record, events = house.runs.get(lease.run_id), house.events(lease.run_id)
    assert (record.status, record.epoch, len(record.attempts)) == (RunStatus.COMPLETED, lease.epoch, 1)
    assert [event.seq for event in events] == list(range(1, record.last_event_seq + 1))
    phases = [event.event.message for event in events if event.event.type == "trainer.job.progress.v1"]
    assert phases == ["Before.", "Meanwhile."]
    assert house.on_disk(lease.run_id).splitlines() == [event.model_dump_json() for event in events]


def held_is_unheard(house: House, run_id: str) -> bool:
    """Whether the store does not know the run, although its owner has had time for several heartbeats."""
    time.sleep(0.2)
    return not house.events(run_id)


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
