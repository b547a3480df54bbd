"""A claimed run over the fake store, for the tests of what all jobs share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from model_trainer.core.config import load_settings
from model_trainer.core.contracts.events import Event
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    Flags,
    Lease,
    NewRun,
    Outcome,
    RunKind,
    RunRecord,
    RunUpdate,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.memory import MemoryArtifactTree, MemoryCorpusRoot
from model_trainer.registry import Registry
from model_trainer.worker.parts import WorkerParts


class ShakyStore(MemoryRunStore):
    """The fake store, with a switch that makes it unreachable, and an eye on what happens just before an end."""

    away = False
    broken = False
    refused = 0
    looks = 0
    before_end: Callable[[], object] = staticmethod(lambda: None)

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...] = ()) -> Flags:
        self._answer()
        return super().heartbeat(lease, update, events)

    def flags(self, lease: Lease) -> Flags:
        self._answer()
        self.looks += 1
        return super().flags(lease)

    def finish(self, lease: Lease, outcome: Outcome, events: tuple[Event, ...] = ()) -> RunRecord:
        self.before_end()
        return super().finish(lease, outcome, events)

    def _answer(self) -> None:
        if self.broken:
            raise RuntimeError("a defect")
        if self.away:
            self.refused += 1
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")


@dataclass
class Bench:
    """A store, its queue, and the parts a job gets."""

    queue: MemoryJobQueue = field(default_factory=MemoryJobQueue)
    now: float = 1_000_000.0

    def __post_init__(self) -> None:
        self.store = ShakyStore(queue=self.queue, clock=lambda: self.now, announce=lambda _: None)
        settings = load_settings(env_file=None)
        app = settings.app.model_copy(update={"heartbeat_seconds": 0.05})
        self.parts = WorkerParts(
            settings=settings.model_copy(update={"app": app}),
            registry=Registry.discover(points=lambda _: []),
            runs=self.store,
            artifacts=MemoryArtifactTree(),
            corpora=MemoryCorpusRoot({}),
            worker_id="worker-1",
        )

    def let_leases_last(self, seconds: float) -> None:
        """For the jobs supervised from now on."""
        settings = self.parts.settings
        app = settings.app.model_copy(update={"lease_seconds": seconds})
        self.parts = replace(self.parts, settings=settings.model_copy(update={"app": app}))

    def submitted(self, *, kind: RunKind = RunKind.TRAIN) -> str:
        run_id = new_ulid()
        run = NewRun(
            run_id=run_id,
            kind=kind,
            queue="training",
            family="gpt2",
            spec={},
            user_id="ada",
            metadata={},
            parent_run_id=None,
            request_id="r-1",
        )
        self.store.submit(run, idempotency=None)
        return run_id

    def claimed(self) -> Lease:
        run_id = self.submitted()
        epoch = self.store.get(run_id).epoch
        lease = self.store.claim(run_id, epoch=epoch, owner="worker-1", lease_seconds=15)
        assert lease is not None
        return lease

    def event_types(self, run_id: str) -> list[str]:
        stored = self.store.events_after(run_id, after=0, limit=1000)
        assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
        return [event.event.type for event in stored]


def wait_until(condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
