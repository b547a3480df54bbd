"""Store, queue and registry over a Redis of which every tenth call fails: nothing is lost, nothing happens twice.

More seeds: `FAULT_SEEDS=20 pytest tests/faults`.
"""

import os
import random
from functools import partial

import pytest

from model_trainer.core.contracts.events import Event, JobCompleted, JobProgress
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    HandBack,
    IdempotencyKey,
    Lease,
    Outcome,
    Phase,
    Progress,
    RunKind,
    RunQuery,
    RunStatus,
    RunUpdate,
    Worker,
)
from model_trainer.infra.persistence.redis_client import RedisClient, connect
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from model_trainer.infra.persistence.redis_workers import RedisWorkerRegistry
from model_trainer.infra.queue.rq_queue import RqJobQueue
from tests.contract.run_stores import QUEUE, RQ_SETTINGS, new_run
from tests.faults.faulty_redis import Fault, Faults, connect_faulty
from tests.faults.faulty_workshop import only_while_the_store_is_away, patiently

SEEDS = range(int(os.environ.get("FAULT_SEEDS", "3")))
SHARE = 0.1


class Both:
    """The same Redis twice: through faults, and as it is."""

    def __init__(self, url: str, seed: int) -> None:
        self.faults = Faults(seed, share=SHARE)
        self.client: RedisClient = connect(url)
        faulty = connect_faulty(url, self.faults)
        self.faulty_queue = RqJobQueue(faulty, RQ_SETTINGS)
        self.faulty = RedisRunStore(faulty, self.faulty_queue)
        self.workers = RedisWorkerRegistry(faulty)
        self.queue = RqJobQueue(self.client, RQ_SETTINGS)
        self.runs = RedisRunStore(self.client, self.queue)

    def submitted(self) -> str:
        """A queued run, submitted without faults."""
        return self.runs.submit(new_run(), idempotency=None).record.run_id

    def claimed(self) -> Lease:
        """A claimed run, claimed without faults."""
        lease = self.runs.claim(self.submitted(), epoch=0, owner="a", host=None, lease_seconds=60.0)
        assert lease is not None
        return lease


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed {seed}")
def both(request: pytest.FixtureRequest, redis_url: str) -> Both:
    return Both(redis_url, seed=request.param)


def progress(lease: Lease, step: int) -> JobProgress:
    return JobProgress(
        job_id=lease.run_id,
        user_id=None,
        phase=Phase.TRAINING,
        message="",
        progress=Progress(step=step, total_steps=100, fraction=step / 100),
    )


def test_submissions_sent_again_with_their_key_make_one_run_and_one_order_each(both: Both) -> None:
    keys = [IdempotencyKey(key=f"key-{number}", body_sha256="0" * 64) for number in range(100)]
    ids = [patiently(partial(both.faulty.submit, new_run(), idempotency=key)).record.run_id for key in keys]
    assert both.faults.counts[Fault.ANSWER_LOST] > 0
    page = both.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=1000))
    assert sorted(record.run_id for record in page.records) == sorted(set(ids))
    assert both.queue.depth(QUEUE) == len(keys)
    assert [len(both.runs.events_after(run_id, after=0, limit=9)) for run_id in ids] == [1] * len(keys)


def test_submissions_without_a_key_either_are_there_or_are_not(both: Both) -> None:
    runs = [new_run(run_id=new_ulid()) for _ in range(100)]
    for run in runs:
        with only_while_the_store_is_away():
            both.faulty.submit(run, idempotency=None)
    page = both.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=1000))
    assert both.queue.depth(QUEUE) == len(page.records)
    assert all(both.queue.holds(record.run_id, epoch=0, queue=QUEUE) for record in page.records)


def test_a_run_is_claimed_once_however_often_it_is_tried(both: Both) -> None:
    for _ in range(100):
        run_id = both.submitted()
        leases: list[Lease] = []
        for owner in ("a", "b"):
            for _ in range(3):
                with only_while_the_store_is_away():
                    lease = both.faulty.claim(run_id, epoch=0, owner=owner, host=None, lease_seconds=60.0)
                    leases += [lease] if lease is not None else []
        assert len(leases) <= 1
        record = both.runs.get(run_id)
        assert (record.epoch, record.attempt) == (1, 1)
        assert [lease.owner for lease in leases] in ([], [record.owner])


def test_events_arrive_once_and_in_order_however_often_they_are_sent(both: Both) -> None:
    lease = both.claimed()
    source = random.Random(1)
    waiting: list[Event] = []
    for step in range(150):
        waiting += [progress(lease, step) for _ in range(source.randrange(3))]
        with only_while_the_store_is_away():
            both.faulty.heartbeat(lease, RunUpdate(), tuple(waiting))
            waiting.clear()
    sent = [event for event in told(both, lease.run_id) if isinstance(event, JobProgress)]
    source = random.Random(1)
    expected = [progress(lease, step) for step in range(150) for _ in range(source.randrange(3))]
    assert sent == expected[: len(sent)]
    assert len(expected) - len(sent) <= len(waiting)


def told(both: Both, run_id: str) -> list[Event]:
    rows = both.runs.events_after(run_id, after=0, limit=10_000)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    return [row.event for row in rows]


def test_a_run_ends_once_however_often_its_end_is_sent(both: Both) -> None:
    for _ in range(50):
        lease = both.claimed()
        outcome = Outcome(status=RunStatus.COMPLETED, message="Done.", result={})
        event = JobCompleted(job_id=lease.run_id, user_id=None, message="Done.", metrics={})
        ended = patiently(partial(both.faulty.finish, lease, outcome, (event,)))
        assert ended.status is RunStatus.COMPLETED
        assert sum(isinstance(event, JobCompleted) for event in told(both, lease.run_id)) == 1


def test_a_run_handed_back_waits_under_one_new_epoch_and_in_the_queue(both: Both) -> None:
    for _ in range(50):
        lease = both.claimed()
        hand_back = HandBack(message="The worker must go.")
        record = patiently(partial(both.faulty.release, lease, hand_back))
        both.runs.reap()
        assert (record.status, record.epoch) == (RunStatus.QUEUED, 2)
        assert both.queue.holds(lease.run_id, epoch=2, queue=QUEUE)


def test_a_cancellation_asked_for_until_it_is_answered_holds(both: Both) -> None:
    for _ in range(50):
        run_id = both.submitted()
        record = patiently(partial(both.faulty.request_cancel, run_id))
        assert record.status is RunStatus.CANCELLED
        types = [event.type for event in told(both, run_id)]
        assert types == ["trainer.job.queued.v1", "trainer.job.cancelled.v1"]


def test_lost_runs_are_rescued_once(both: Both) -> None:
    leases = [both.claimed() for _ in range(30)]
    holders = both.runs.held()
    for _ in range(20):
        with only_while_the_store_is_away():
            both.faulty.reap(holders)
    both.runs.reap(holders)
    for lease in leases:
        record = both.runs.get(lease.run_id)
        assert (record.status, record.epoch) == (RunStatus.QUEUED, 2)
        assert both.queue.holds(lease.run_id, epoch=2, queue=QUEUE)


def test_a_worker_that_speaks_until_it_is_heard_is_on_the_list_and_leaves_it(both: Both) -> None:
    worker = Worker(
        worker_id="w-1",
        queue=QUEUE,
        host="here",
        pid=1,
        devices=("cpu",),
        memory_bytes=1,
        cuda_memory_bytes=0,
        cpu_count=1,
        native_bf16=False,
        extras=(),
        version="1",
    )
    for _ in range(20):
        patiently(lambda: both.workers.register(worker, ttl_seconds=60.0))
        assert patiently(both.workers.alive) == (worker,)
        patiently(lambda: both.workers.unregister("w-1"))
        assert patiently(both.workers.alive) == ()


def test_every_way_to_fail_was_met() -> None:
    faults = Faults(1, share=0.5)
    drawn = {faults.draw() for _ in range(200)}
    assert drawn == {None, *Fault}
    assert Faults(2, share=0.0).draw() is None
