"""The one file where contract meets adapter: finished parts, handed to constructors. Torch-free."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.compute.machine import hostname
from model_trainer.core.config import Settings
from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus, Worker
from model_trainer.core.failpoints import OneFailpoint, Reached, pass_by
from model_trainer.core.ports.runs import JobQueue, RunSignal, RunStore, WorkerRegistry
from model_trainer.core.ports.storage import ArtifactTree, CorpusRoot, RunLocks
from model_trainer.infra.persistence.memory import MemoryRunSignal, MemoryRunStore, MemoryWorkerRegistry
from model_trainer.infra.persistence.redis_client import connect
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from model_trainer.infra.persistence.redis_workers import RedisWorkerRegistry
from model_trainer.infra.persistence.run_signal import RedisRunSignal
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.queue.rq_queue import RqJobQueue
from model_trainer.infra.queue.serve import QueueServer
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis, find_server
from model_trainer.infra.stack.supervisor import ProcessSpec, Supervisor, in_background, stop_on_signals
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.corpus_root import LocalCorpusRoot
from model_trainer.infra.storage.memory import MemoryArtifactTree, MemoryCorpusRoot, MemoryRunLocks
from model_trainer.infra.storage.run_locks import run_locks
from model_trainer.orchestrators.evaluations import EvaluationOrchestrator
from model_trainer.orchestrators.follow_ups import CalibrationOrchestrator, ExportOrchestrator
from model_trainer.orchestrators.tokenizers import TokenizerOrchestrator
from model_trainer.orchestrators.training import TrainingOrchestrator
from model_trainer.registry import Registry
from model_trainer.worker.kept_events import completed, read_events
from model_trainer.worker.parts import WorkerParts

__all__ = [
    "Container",
    "EmbeddedRedis",
    "ProcessSpec",
    "QueueServer",
    "Supervisor",
    "find_server",
    "in_background",
    "in_memory",
    "live",
    "local",
    "stop_on_signals",
]


@dataclass(frozen=True, slots=True)
class Container:
    """Finished parts. Doors take what they need from here; nothing below a door ever sees it."""

    settings: Settings
    registry: Registry
    runs: RunStore
    workers: WorkerRegistry
    signal: RunSignal
    queue: JobQueue
    artifacts: ArtifactTree
    corpora: CorpusRoot
    locks: RunLocks
    reached: Reached
    training: TrainingOrchestrator
    tokenizers: TokenizerOrchestrator
    evaluations: EvaluationOrchestrator
    calibrations: CalibrationOrchestrator
    exports: ExportOrchestrator

    def workers_of(self, queue: str) -> tuple[Worker, ...]:
        """The live workers of one queue. Any of them may take an order from it."""
        return tuple(worker for worker in self.workers.alive() if worker.queue == queue)

    def worker_parts(self, worker_id: str) -> WorkerParts:
        """What jobs of this worker are handed."""
        return WorkerParts(
            settings=self.settings,
            registry=self.registry,
            runs=self.runs,
            artifacts=self.artifacts,
            corpora=self.corpora,
            locks=self.locks,
            worker_id=worker_id,
            reached=self.reached,
        )

    def queue_server(
        self,
        queue: str,
        *,
        run: Callable[[str], None],
        on_heartbeat: Callable[[], None],
        on_child_lost: Callable[[], None],
    ) -> QueueServer:
        """What serves a queue with `run`; `on_heartbeat` is called every few seconds, `on_child_lost` when a process that
        carried an order out has died instead of ending."""
        return QueueServer(
            redis_url=self.settings.redis_url.get_secret_value(),
            queue=queue,
            settings=self.settings.rq,
            run=run,
            on_heartbeat=on_heartbeat,
            on_child_lost=on_child_lost,
            stop_grace_seconds=self.settings.app.stop_grace_seconds,
        )


def live(settings: Settings) -> Container:
    """Parts that work on this installation's Redis and folders. Connects when something is first asked for."""
    url = settings.redis_url.get_secret_value()
    client = connect(url)
    queue = RqJobQueue(client, settings.rq)
    reached = _failpoint(settings)
    return _assembled(
        settings,
        runs=RedisRunStore(
            client, queue, reached=reached, reap_every_seconds=settings.app.reap_every_seconds
        ),
        workers=RedisWorkerRegistry(client),
        signal=RedisRunSignal(url),
        queue=queue,
        artifacts=LocalArtifactTree(settings.app.artifacts_root, settings.app.runs_root),
        corpora=LocalCorpusRoot(settings.app.data_root),
        locks=run_locks(settings.app.runs_root, host=settings.app.host_id or hostname()),
        reached=reached,
    )


def local(settings: Settings) -> Container:
    """Parts that work without a server: files are read wherever they lie and artifacts kept in the folders of `settings`;
    queue and records live in this process, which begins with the records that these folders have kept."""
    queue = MemoryJobQueue()
    signal = MemoryRunSignal()
    runs = MemoryRunStore(queue=queue, clock=time.time, announce=signal.announce)
    artifacts = LocalArtifactTree(settings.app.artifacts_root, settings.app.runs_root)
    for record in (kept.record for kept in artifacts.kept_records()):
        if record is not None and (record.status.is_terminal or record.status is RunStatus.PAUSED):
            runs.restore(record, _events_of(record, artifacts))
    return _assembled(
        settings,
        runs=runs,
        workers=MemoryWorkerRegistry(clock=time.monotonic),
        signal=signal,
        queue=queue,
        artifacts=artifacts,
        corpora=LocalCorpusRoot(Path(Path.cwd().anchor)),
        locks=run_locks(settings.app.runs_root, host=settings.app.host_id or hostname()),
        reached=_failpoint(settings),
    )


def in_memory(settings: Settings, *, files: Mapping[str, str | bytes] | None = None) -> Container:
    """Parts that work in this process alone and leave nothing behind.

    Args:
        settings: as for live(); addresses and folders in them are not used.
        files: what lies under the data root, by relative name.
    """
    queue = MemoryJobQueue()
    signal = MemoryRunSignal()
    return _assembled(
        settings,
        runs=MemoryRunStore(queue=queue, clock=time.time, announce=signal.announce),
        workers=MemoryWorkerRegistry(clock=time.monotonic),
        signal=signal,
        queue=queue,
        artifacts=MemoryArtifactTree(),
        corpora=MemoryCorpusRoot(files or {}),
        locks=MemoryRunLocks(),
        reached=_failpoint(settings),
    )


def _assembled(
    settings: Settings,
    *,
    runs: RunStore,
    workers: WorkerRegistry,
    signal: RunSignal,
    queue: JobQueue,
    artifacts: ArtifactTree,
    corpora: CorpusRoot,
    locks: RunLocks,
    reached: Reached,
) -> Container:
    training = TrainingOrchestrator(
        runs=runs, artifacts=artifacts, queue_name=settings.rq.queue_name, reached=reached
    )
    short = settings.rq.short_queue_name
    registry = Registry.discover()
    return Container(
        settings=settings,
        registry=registry,
        runs=runs,
        workers=workers,
        signal=signal,
        queue=queue,
        artifacts=artifacts,
        corpora=corpora,
        locks=locks,
        reached=reached,
        training=training,
        tokenizers=TokenizerOrchestrator(runs=runs, artifacts=artifacts, queue_name=short, reached=reached),
        evaluations=EvaluationOrchestrator(runs=runs, artifacts=artifacts, queue_name=short, reached=reached),
        calibrations=CalibrationOrchestrator(
            runs=runs, artifacts=artifacts, queue_name=short, reached=reached
        ),
        exports=ExportOrchestrator(runs=runs, artifacts=artifacts, queue_name=short, reached=reached),
    )


def _events_of(record: RunRecord, artifacts: ArtifactTree) -> tuple[StoredEvent, ...]:
    """What was told of a training; of other runs nothing is told again."""
    if record.kind is not RunKind.TRAIN or not artifacts.exists("models", record.run_id):
        return ()
    return completed(record, read_events(artifacts.folder("models", record.run_id) / "events.jsonl"))


def _failpoint(settings: Settings) -> Reached:
    """Where this process is to fail; nowhere, but in tests of faults."""
    return pass_by if settings.app.failpoint is None else OneFailpoint(settings.app.failpoint)
