"""The stores under test, each with the means to let time pass and to do what only a person or a fault would."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from model_trainer.core.config.settings import RqSettings
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.events import CheckpointSaved, Event
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    HandBack,
    IdempotencyKey,
    Lease,
    NewRun,
    Outcome,
    Problem,
    RunKind,
    RunStatus,
)
from model_trainer.core.errors import ErrorCode, Reason
from model_trainer.core.ports.runs import RunStore
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.queue.rq_queue import RqJobQueue

QUEUE = "training"
LEASE_SECONDS = 0.04

RQ_SETTINGS = RqSettings(
    queue_name=QUEUE,
    short_queue_name="short",
    job_timeout_seconds=-1,
    result_ttl_seconds=60,
    failure_ttl_seconds=60,
    retry_max=3,
    retry_backoff_seconds=0.0,
)

COMPLETED = Outcome(
    status=RunStatus.COMPLETED, message="Done.", result={"loss": 1.5, "sizes": []}, metrics={"loss": 1.5}
)
FAILED = Outcome(
    status=RunStatus.FAILED, message="No.", problem=Problem(code=ErrorCode.DATA_CHANGED, message="No.")
)
PAUSED = HandBack(status=RunStatus.PAUSED, message="Paused.")
DISK_FULL = HandBack(
    status=RunStatus.PAUSED,
    message="The disk is full.",
    reason=Reason.DISK_FULL,
    problem=Problem(code=ErrorCode.DISK_FULL, message="Full."),
    delay_seconds=0.1,
    is_retry=True,
)


@dataclass
class StoreUnderTest:
    """A run store, its queue, and the world around it."""

    runs: RunStore
    queue: RqJobQueue | MemoryJobQueue
    pass_time: Callable[[float], None]
    cancel_by_hand: Callable[[str, str], None]
    lose_everything: Callable[[], None]
    announced: list[str]

    def submit(self, *, idempotency: IdempotencyKey | None = None, kind: RunKind = RunKind.TRAIN) -> str:
        """A queued run."""
        return self.runs.submit(new_run(kind=kind), idempotency=idempotency).record.run_id

    def claim(
        self, run_id: str, *, owner: str = "a", host: str | None = "host-1", lease_seconds: float = 60.0
    ) -> Lease:
        """The lease on a run that must be free."""
        epoch = self.runs.get(run_id).epoch
        lease = self.runs.claim(run_id, epoch=epoch, owner=owner, host=host, lease_seconds=lease_seconds)
        assert lease is not None
        return lease

    def lose_worker(self, run_id: str) -> Lease:
        """A claimed run whose owner was never heard of again."""
        lease = self.claim(run_id, lease_seconds=LEASE_SECONDS)
        self.pass_time(LEASE_SECONDS + 0.01)
        return lease


def new_run(
    *,
    kind: RunKind = RunKind.TRAIN,
    queue: str = QUEUE,
    family: str = "gpt2",
    spec: JsonObject | None = None,
    user_id: str | None = "ada",
    metadata: dict[str, str] | None = None,
    parent_run_id: str | None = None,
    run_id: str | None = None,
) -> NewRun:
    """What a submitter knows."""
    demanding: JsonObject = {
        "model_family": family,
        "list": [1, None, {}],
        "empty": {},
        "text": 'a "b" \\ / ü',
    }
    return NewRun(
        run_id=run_id or new_ulid(),
        kind=kind,
        queue=queue,
        family=family,
        spec=demanding if spec is None else spec,
        user_id=user_id,
        metadata=metadata or {},
        parent_run_id=parent_run_id,
        request_id="request-1",
    )


def redis_store(client: RedisClient) -> StoreUnderTest:
    """The store in Redis, with orders through RQ."""
    queue = RqJobQueue(client, RQ_SETTINGS)

    def cancel_by_hand(run_id: str, value: str) -> None:
        client.call("SET", f"runs:{run_id}:cancelled", value)

    def lose_everything() -> None:
        client.call("FLUSHALL")

    return StoreUnderTest(
        runs=RedisRunStore(client, queue),
        queue=queue,
        pass_time=time.sleep,
        cancel_by_hand=cancel_by_hand,
        lose_everything=lose_everything,
        announced=[],
    )


def memory_store() -> StoreUnderTest:
    """The fake that ships, with a clock that only tests move."""
    queue = MemoryJobQueue()
    now = [1_700_000_000.0]
    announced: list[str] = []
    store = MemoryRunStore(queue=queue, clock=lambda: now[0], announce=announced.append)

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    def lose_everything() -> None:
        store.lose_everything()
        while queue.take(QUEUE) is not None:
            pass

    return StoreUnderTest(
        runs=store,
        queue=queue,
        pass_time=pass_time,
        cancel_by_hand=store.set_flag_by_hand,
        lose_everything=lose_everything,
        announced=announced,
    )


def events(store: StoreUnderTest, run_id: str) -> list[Event]:
    """All that was told of a run."""
    return [stored.event for stored in store.runs.events_after(run_id, after=0, limit=1000)]


def checkpoint(run_id: str, step: int) -> CheckpointSaved:
    """News of a checkpoint of a run that `new_run` made."""
    return CheckpointSaved(
        job_id=run_id, user_id="ada", step=step, path=f"checkpoints/{step}", num_bytes=1, metrics={}
    )
