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
from model_trainer.core.ports.feed import EventFeed, WatchList
from model_trainer.core.ports.inference import InferenceStore
from model_trainer.core.ports.runs import JobQueue, RunSignal, RunStore, WorkerRegistry
from model_trainer.core.ports.storage import ArtifactTree, CorpusCache, CorpusRoot, RunLocks
from model_trainer.core.ports.store import ArtifactStore, References
from model_trainer.infra.persistence.memory import MemoryRunSignal, MemoryRunStore, MemoryWorkerRegistry
from model_trainer.infra.persistence.memory_feed import MemoryEventFeed
from model_trainer.infra.persistence.memory_inference import MemoryInferenceStore
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.persistence.memory_watch_list import MemoryWatchList
from model_trainer.infra.persistence.redis_client import connect
from model_trainer.infra.persistence.redis_feed import RedisEventFeed
from model_trainer.infra.persistence.redis_inference import RedisInferenceStore
from model_trainer.infra.persistence.redis_references import RedisReferences
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from model_trainer.infra.persistence.redis_watch_list import RedisWatchList
from model_trainer.infra.persistence.redis_workers import RedisWorkerRegistry
from model_trainer.infra.persistence.run_signal import INFERENCE_CHANNEL, RedisRunSignal
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.queue.parent_death import die_with_parent, load_process_control
from model_trainer.infra.queue.rq_queue import RqJobQueue
from model_trainer.infra.queue.serve import QueueServer
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis, find_server
from model_trainer.infra.stack.supervisor import ProcessSpec, Supervisor, in_background, stop_on_signals
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.corpus_cache import LocalCorpusCache
from model_trainer.infra.storage.corpus_root import CACHE_FOLDER, LocalCorpusRoot
from model_trainer.infra.storage.filed_corpora import FiledCorpora
from model_trainer.infra.storage.memory import MemoryArtifactTree, MemoryCorpusRoot, MemoryRunLocks
from model_trainer.infra.storage.run_locks import run_locks
from model_trainer.infra.storage.stored_tree import StoredArtifactTree
from model_trainer.infra.storage.stores.choose import STORE_FOLDER, open_store
from model_trainer.infra.storage.stores.local import LocalStore
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.infra.storage.uploads import ARRIVALS_FOLDER, UPLOADS_FOLDER, LocalUploads
from model_trainer.orchestrators.evaluations import EvaluationOrchestrator
from model_trainer.orchestrators.files import FileOrchestrator
from model_trainer.orchestrators.follow_ups import CalibrationOrchestrator, ExportOrchestrator
from model_trainer.orchestrators.needs import Needs
from model_trainer.orchestrators.tokenizers import TokenizerOrchestrator
from model_trainer.orchestrators.training import TrainingOrchestrator
from model_trainer.registry import Registry
from model_trainer.worker.kept_events import completed, read_events
from model_trainer.worker.parts import WorkerParts

__all__ = [
    "ARRIVALS_FOLDER",
    "UPLOADS_FOLDER",
    "Container",
    "EmbeddedRedis",
    "ProcessSpec",
    "QueueServer",
    "Supervisor",
    "die_with_parent",
    "find_server",
    "in_background",
    "in_memory",
    "live",
    "load_process_control",
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
    corpus_cache: CorpusCache
    store: ArtifactStore
    locks: RunLocks
    references: References
    inference: InferenceStore
    inference_signal: RunSignal
    feed: EventFeed
    watch_list: WatchList
    reached: Reached
    training: TrainingOrchestrator
    tokenizers: TokenizerOrchestrator
    evaluations: EvaluationOrchestrator
    calibrations: CalibrationOrchestrator
    exports: ExportOrchestrator
    files: FileOrchestrator
    arrivals: FileOrchestrator
    """Takes files that come in one request: what is left of such a one goes soon."""

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
            store=self.store,
            references=self.references,
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
        paths=LocalCorpusRoot(settings.app.data_root),
        cache_folder=settings.app.data_root / CACHE_FOLDER,
        store=open_store(settings.store, settings.app.artifacts_root),
        files_root=settings.app.artifacts_root,
        locks=run_locks(settings.app.runs_root, host=settings.app.host_id or hostname()),
        references=RedisReferences(client),
        inference=RedisInferenceStore(client, settings.inference),
        inference_signal=RedisRunSignal(url, channel=INFERENCE_CHANNEL),
        feed=RedisEventFeed(client, url),
        watch_list=RedisWatchList(client),
        reached=reached,
    )


def local(settings: Settings) -> Container:
    """Parts that work without a server: files are read wherever they lie and artifacts kept in the folders of `settings`;
    queue and records live in this process, which begins with the records that these folders have kept."""
    queue = MemoryJobQueue()
    signal, asked = MemoryRunSignal(), MemoryRunSignal()
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
        paths=LocalCorpusRoot(Path(Path.cwd().anchor)),
        cache_folder=settings.app.data_root / CACHE_FOLDER,
        store=LocalStore(settings.app.artifacts_root / STORE_FOLDER),
        files_root=settings.app.artifacts_root,
        locks=run_locks(settings.app.runs_root, host=settings.app.host_id or hostname()),
        references=MemoryReferences(),
        inference=_memory_inference(settings, asked),
        inference_signal=asked,
        feed=MemoryEventFeed(runs),
        watch_list=MemoryWatchList(),
        reached=_failpoint(settings),
    )


def in_memory(settings: Settings, *, files: Mapping[str, str | bytes] | None = None) -> Container:
    """Parts that work in this process alone and leave nothing behind.

    Args:
        settings: as for live(); addresses and folders in them are not used.
        files: what lies under the data root, by relative name.
    """
    queue = MemoryJobQueue()
    signal, asked = MemoryRunSignal(), MemoryRunSignal()
    runs = MemoryRunStore(queue=queue, clock=time.time, announce=signal.announce)
    artifacts = MemoryArtifactTree()
    paths = MemoryCorpusRoot(files or {})
    return _assembled(
        settings,
        runs=runs,
        workers=MemoryWorkerRegistry(clock=time.monotonic),
        signal=signal,
        queue=queue,
        artifacts=artifacts,
        paths=paths,
        cache_folder=paths.root / CACHE_FOLDER,
        store=MemoryStore(),
        files_root=artifacts.root,
        locks=MemoryRunLocks(),
        references=MemoryReferences(),
        inference=_memory_inference(settings, asked),
        inference_signal=asked,
        feed=MemoryEventFeed(runs),
        watch_list=MemoryWatchList(),
        reached=_failpoint(settings),
    )


def _assembled(
    settings: Settings,
    *,
    runs: RunStore,
    workers: WorkerRegistry,
    signal: RunSignal,
    queue: JobQueue,
    artifacts: LocalArtifactTree,
    paths: CorpusRoot,
    cache_folder: Path,
    store: ArtifactStore,
    files_root: Path,
    locks: RunLocks,
    references: References,
    inference: InferenceStore,
    inference_signal: RunSignal,
    feed: EventFeed,
    watch_list: WatchList,
    reached: Reached,
) -> Container:
    corpus_cache = LocalCorpusCache(
        cache_folder,
        store=store,
        settings=settings.app.corpus_cache,
        place_of=store.path_of if isinstance(store, LocalStore) else None,
    )
    tree = StoredArtifactTree(artifacts, store=store, record_of=runs.get)
    needs = Needs(references=references, store=store, runs=runs)
    training = TrainingOrchestrator(
        runs=runs, artifacts=tree, needs=needs, queue_name=settings.rq.queue_name, reached=reached
    )

    def files_by_way_of(folder: str) -> FileOrchestrator:
        uploads = LocalUploads(files_root / folder, max_bytes=settings.app.max_file_bytes)
        return FileOrchestrator(store=store, uploads=uploads, references=references, runs=runs)

    short = settings.rq.short_queue_name
    registry = Registry.discover()
    return Container(
        settings=settings,
        registry=registry,
        runs=runs,
        workers=workers,
        signal=signal,
        queue=queue,
        artifacts=tree,
        corpora=FiledCorpora(paths, cache=corpus_cache),
        corpus_cache=corpus_cache,
        store=store,
        locks=locks,
        references=references,
        inference=inference,
        inference_signal=inference_signal,
        feed=feed,
        watch_list=watch_list,
        reached=reached,
        training=training,
        tokenizers=TokenizerOrchestrator(
            runs=runs, artifacts=tree, needs=needs, queue_name=short, reached=reached
        ),
        evaluations=EvaluationOrchestrator(
            runs=runs, artifacts=tree, needs=needs, queue_name=short, reached=reached
        ),
        calibrations=CalibrationOrchestrator(
            runs=runs, artifacts=tree, needs=needs, queue_name=short, reached=reached
        ),
        exports=ExportOrchestrator(runs=runs, artifacts=tree, needs=needs, queue_name=short, reached=reached),
        files=files_by_way_of(UPLOADS_FOLDER),
        arrivals=files_by_way_of(ARRIVALS_FOLDER),
    )


def _events_of(record: RunRecord, artifacts: ArtifactTree) -> tuple[StoredEvent, ...]:
    """What was told of a training; of other runs nothing is told again."""
    folder = artifacts.here("models", record.run_id) if record.kind is RunKind.TRAIN else None
    return () if folder is None else completed(record, read_events(folder / "events.jsonl"))


def _memory_inference(settings: Settings, signal: MemoryRunSignal) -> MemoryInferenceStore:
    return MemoryInferenceStore(settings.inference, clock=time.time, announce=signal.announce)


def _failpoint(settings: Settings) -> Reached:
    """Where this process is to fail; nowhere, but in tests of faults."""
    return pass_by if settings.app.failpoint is None else OneFailpoint(settings.app.failpoint)
