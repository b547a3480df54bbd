"""A claimed run over the fake store, for the tests of what all jobs share."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from model_trainer.core.config import load_settings
from model_trainer.core.contracts.base import JsonObject, parse_json_object
from model_trainer.core.contracts.events import Event
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import Flags, Lease, Outcome, RunKind, RunRecord, RunUpdate
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint, Reached
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.memory import MemoryArtifactTree, MemoryCorpusRoot, MemoryRunLocks
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.registry import Registry
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.supervise import Job, JobResult, supervise
from tests.contract.run_stores import new_run


class ShakyStore(MemoryRunStore):
    """The fake store, with a switch that makes it unreachable, and an eye on what happens just before an end."""

    away = False
    broken = False
    refused = 0
    looks = 0
    before_end: Callable[[], object] = staticmethod(lambda: None)
    answers_lost = 0
    gets_refused = 0
    updates: list[RunUpdate]

    def claim(
        self, run_id: str, *, epoch: int, owner: str, host: str | None, lease_seconds: float
    ) -> Lease | None:
        """Claims whose answer gets lost on the way, as often as `answers_lost` says."""
        lease = super().claim(run_id, epoch=epoch, owner=owner, host=host, lease_seconds=lease_seconds)
        if self.answers_lost > 0:
            self.answers_lost -= 1
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")
        return lease

    def get(self, run_id: str) -> RunRecord:
        if self.gets_refused > 0:
            self.gets_refused -= 1
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")
        return super().get(run_id)

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...] = ()) -> Flags:
        self._answer()
        self.updates.append(update)
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
    locks: MemoryRunLocks = field(default_factory=MemoryRunLocks)
    files: MemoryStore = field(default_factory=MemoryStore)
    references: MemoryReferences = field(default_factory=MemoryReferences)
    reached: list[Failpoint] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = ShakyStore(queue=self.queue, clock=lambda: self.now, announce=lambda _: None)
        self.store.updates = []
        settings = load_settings(env_file=None)
        app = settings.app.model_copy(update={"heartbeat_seconds": 0.05})
        self.parts = WorkerParts(
            settings=settings.model_copy(update={"app": app}),
            registry=Registry.discover(points=lambda _: []),
            runs=self.store,
            artifacts=MemoryArtifactTree(),
            corpora=MemoryCorpusRoot({}),
            locks=self.locks,
            store=self.files,
            references=self.references,
            worker_id="worker-1",
            reached=self.reached.append,
        )

    def let_leases_last(self, seconds: float) -> None:
        """For the jobs supervised from now on."""
        settings = self.parts.settings
        app = settings.app.model_copy(update={"lease_seconds": seconds})
        self.parts = replace(self.parts, settings=settings.model_copy(update={"app": app}))

    def submitted(self, *, kind: RunKind = RunKind.TRAIN, spec: JsonObject | None = None) -> str:
        run_id = new_ulid()
        run = new_run(run_id=run_id, kind=kind, spec=spec or {}, user_id="ada")
        self.store.submit(run, idempotency=None)
        return run_id

    def claimed(self) -> Lease:
        run_id = self.submitted()
        epoch = self.store.get(run_id).epoch
        lease = self.store.claim(run_id, epoch=epoch, owner="worker-1", host="h", lease_seconds=15)
        assert lease is not None
        return lease

    def event_types(self, run_id: str) -> list[str]:
        stored = self.store.events_after(run_id, after=0, limit=1000)
        assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
        return [event.event.type for event in stored]


Work = Callable[[HeldRun, RunRecord], JobResult]


@dataclass
class Life:
    """One job under supervision, and what is known of it afterwards."""

    bench: Bench
    folder: Path
    ended: list[RunRecord] = field(default_factory=list)
    reached: Reached | None = None

    def of(self, work: Work, *, kind: RunKind = RunKind.TRAIN) -> RunRecord:
        run_id = self.bench.submitted(kind=kind)
        self.again(run_id, work)
        return self.bench.store.get(run_id)

    def again(self, run_id: str, work: Work, *, epoch: int | None = None) -> None:
        """Delivers an order of the run (left out: the one that counts)."""
        job = Job(
            work=work,
            folder=lambda _: nullcontext(self.folder),
            ended=self.ended.append,
            fallback=ErrorCode.MODEL_TRAIN_FAILED,
        )
        if epoch is None:
            epoch = self.bench.store.get(run_id).epoch
        parts = self.bench.parts if self.reached is None else replace(self.bench.parts, reached=self.reached)
        supervise(parts, run_id=run_id, epoch=epoch, job=job)

    def lines(self) -> list[JsonObject]:
        return [parse_json_object(line) for line in (self.folder / "logs.jsonl").read_text().splitlines()]


def wait_until(condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
