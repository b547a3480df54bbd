"""A whole service in memory: the API over the fakes that ship, a family without torch, and hands to play a worker."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from model_trainer.container import Container
from model_trainer.core.compute.machine import Machine
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.events import Event
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import Lease, Outcome, RunStatus, RunUpdate, Worker
from model_trainer.core.contracts.training import (
    CheckpointSpec,
    LanguageModelSpec,
    MemoryEstimate,
    Recipe,
    TrainSpec,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import pass_by
from model_trainer.engine.protocols import LanguageModelBackend
from model_trainer.infra.persistence.memory import MemoryRunSignal, MemoryRunStore, MemoryWorkerRegistry
from model_trainer.infra.persistence.memory_feed import MemoryEventFeed
from model_trainer.infra.persistence.memory_inference import MemoryInferenceStore
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.persistence.memory_watch_list import MemoryWatchList
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.corpus_cache import LocalCorpusCache
from model_trainer.infra.storage.corpus_root import CACHE_FOLDER
from model_trainer.infra.storage.filed_corpora import FiledCorpora
from model_trainer.infra.storage.memory import MemoryArtifactTree, MemoryCorpusRoot, MemoryRunLocks
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.infra.storage.uploads import ARRIVALS_FOLDER, UPLOADS_FOLDER, LocalUploads
from model_trainer.models.family import Family
from model_trainer.orchestrators.evaluations import EvaluationOrchestrator
from model_trainer.orchestrators.files import FileOrchestrator
from model_trainer.orchestrators.follow_ups import CalibrationOrchestrator, ExportOrchestrator
from model_trainer.orchestrators.needs import Needs
from model_trainer.orchestrators.tokenizers import TokenizerOrchestrator
from model_trainer.orchestrators.training import TrainingOrchestrator
from model_trainer.registry import Registry
from model_trainer.tokenizers.bpe import TOKENIZER as BPE
from model_trainer.tokenizers.char import TOKENIZER as CHAR
from model_trainer.tokenizers.sentencepiece import TOKENIZER as SENTENCEPIECE

GIB = 1 << 30
TEXT = "The quick brown fox jumps over the lazy dog.\n" * 400


class ToySpec(LanguageModelSpec):
    """A family of one size."""

    model_family: Literal["toy"] = "toy"
    num_layers: int = 2


class ToyFamily:
    """Answers what the API asks; needs 1 GiB a layer, and 1 MiB for each entry of the vocabulary."""

    name = "toy"
    title = "A toy"
    spec: type[TrainSpec] = ToySpec

    def supported_tokenizers(self) -> tuple[str, ...]:
        return ("bpe", "char")

    def example(self) -> JsonObject:
        return {"model_family": "toy", "corpus_path": "demo", "tokenizer_id": "01J00000000000000000000000"}

    def resolve(self, spec: TrainSpec, machine: Machine, *, vocab_size: int) -> Recipe:
        assert isinstance(spec, ToySpec)
        if spec.device == "cuda" and not machine.has_cuda:
            raise AppError(ErrorCode.DEVICE_UNAVAILABLE, "There is no CUDA device; use device cpu or auto.")
        return Recipe(
            model_family="toy",
            shape={"num_layers": spec.num_layers},
            vocab_size=vocab_size,
            max_seq_len=8,
            data_order="shuffled_windows",
            batch_size=1,
            gradient_accumulation_steps=1,
            optimizer="adamw",
            learning_rate=1e-3,
            matrix_learning_rate=1e-3,
            weight_decay=0.0,
            beta1=0.9,
            beta2=0.95,
            momentum=0.9,
            schedule="constant",
            warmup_steps=0,
            decay_fraction=0.4,
            final_fraction=0.0,
            gradient_clip_norm=1.0,
            num_epochs=1.0,
            max_steps=None,
            log_every_steps=None,
            eval_every_steps=None,
            checkpoint=CheckpointSpec(),
            early_stopping=None,
            eval_stride=8,
            device="cuda" if spec.device == "cuda" else "cpu",
            precision="fp32",
            cpu_threads=1,
            loader_workers=0,
            pin_memory=False,
            seed=spec.seed,
        )

    def estimate(self, recipe: Recipe) -> MemoryEstimate:
        layers = recipe.shape["num_layers"]
        assert isinstance(layers, int)
        return MemoryEstimate(
            num_parameters=layers * 1000,
            weights=layers * GIB,
            gradients=recipe.vocab_size << 20,
            optimizer=0,
            activations=0,
        )

    def backend(self) -> LanguageModelBackend:
        raise NotImplementedError


def settings_with(
    *, api_key: str | None = None, protect_docs: bool = False, protect_metrics: bool = True
) -> Settings:
    """The defaults, with a key if one is given."""
    settings = load_settings(env_file=None)
    security = settings.security.model_copy(
        update={
            "api_key": None if api_key is None else SecretStr(api_key),
            "protect_docs": protect_docs,
            "protect_metrics": protect_metrics,
        }
    )
    app = settings.app.model_copy(update={"max_body_bytes": 16 * 1024})
    return settings.model_copy(update={"security": security, "app": app})


class Service:
    """The container's parts by their real types, and what a worker would do to them."""

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        files: Mapping[str, str | bytes] | None = None,
        run_store: type[MemoryRunStore] = MemoryRunStore,
        artifacts: MemoryArtifactTree | None = None,
        families: Iterable[Family] = (ToyFamily(),),
        store: MemoryStore | None = None,
    ) -> None:
        self.settings = settings or settings_with()
        self.queue = MemoryJobQueue()
        self.signal = MemoryRunSignal()
        self.runs = run_store(queue=self.queue, clock=time.time, announce=self.signal.announce)
        self.inference_signal = MemoryRunSignal()
        self.inference = MemoryInferenceStore(
            self.settings.inference, clock=time.time, announce=self.inference_signal.announce
        )
        self.workers = MemoryWorkerRegistry(clock=time.time)
        self.artifacts = artifacts or MemoryArtifactTree()
        self.corpora = MemoryCorpusRoot({"demo/a.txt": TEXT, "tiny.txt": "hi\n"} if files is None else files)
        self.registry = Registry(families=families, tokenizers=[BPE, CHAR, SENTENCEPIECE])
        self.store = store or MemoryStore()
        self.references = MemoryReferences()
        cache = LocalCorpusCache(
            self.corpora.root / CACHE_FOLDER, store=self.store, settings=self.settings.app.corpus_cache
        )
        needs = Needs(references=self.references, store=self.store, runs=self.runs)
        rq = self.settings.rq
        self.container = Container(
            settings=self.settings,
            registry=self.registry,
            runs=self.runs,
            workers=self.workers,
            signal=self.signal,
            queue=self.queue,
            artifacts=self.artifacts,
            corpora=FiledCorpora(self.corpora, cache=cache),
            corpus_cache=cache,
            store=self.store,
            locks=MemoryRunLocks(),
            references=self.references,
            inference=self.inference,
            inference_signal=self.inference_signal,
            feed=MemoryEventFeed(self.runs),
            watch_list=MemoryWatchList(),
            reached=pass_by,
            training=TrainingOrchestrator(
                runs=self.runs, artifacts=self.artifacts, needs=needs, queue_name=rq.queue_name
            ),
            tokenizers=TokenizerOrchestrator(
                runs=self.runs, artifacts=self.artifacts, needs=needs, queue_name=rq.short_queue_name
            ),
            evaluations=EvaluationOrchestrator(
                runs=self.runs, artifacts=self.artifacts, needs=needs, queue_name=rq.short_queue_name
            ),
            calibrations=CalibrationOrchestrator(
                runs=self.runs, artifacts=self.artifacts, needs=needs, queue_name=rq.short_queue_name
            ),
            exports=ExportOrchestrator(
                runs=self.runs, artifacts=self.artifacts, needs=needs, queue_name=rq.short_queue_name
            ),
            files=self._files(UPLOADS_FOLDER),
            arrivals=self._files(ARRIVALS_FOLDER),
        )

    def _files(self, folder: str) -> FileOrchestrator:
        uploads = LocalUploads(self.artifacts.root / folder, max_bytes=self.settings.app.max_file_bytes)
        return FileOrchestrator(store=self.store, uploads=uploads, references=self.references, runs=self.runs)

    def claim(self, run_id: str) -> Lease:
        """Starts a run, as a worker would."""
        record = self.runs.get(run_id)
        lease = self.runs.claim(run_id, epoch=record.epoch, owner="w1", host="h1", lease_seconds=60)
        assert lease is not None
        return lease

    def beat(self, lease: Lease, *events: Event, message: str = "working") -> None:
        """Reports from a run."""
        self.runs.heartbeat(lease, RunUpdate(message=message), events)

    def complete(self, lease: Lease, result: JsonObject | None = None) -> None:
        """Ends a run well."""
        outcome = Outcome(
            status=RunStatus.COMPLETED, message="done", result=result or {}, metrics={"loss": 1.5}
        )
        self.runs.finish(lease, outcome)

    def finished(self, run_id: str, result: JsonObject | None = None) -> None:
        """Takes a run to its end in one go."""
        self.complete(self.claim(run_id), result)

    def write(self, kind: Literal["models", "tokenizers"], item_id: str, name: str, content: bytes) -> Path:
        """Puts a file into an artifact."""
        path = self.artifacts.create(kind, item_id) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def worker_alive(
        self,
        queue: str,
        *,
        memory_bytes: int = 64 * GIB,
        cuda_memory_bytes: int = 0,
        extras: tuple[str, ...] = (),
    ) -> None:
        """Lets a worker say that it is alive."""
        worker = Worker(
            worker_id=new_ulid(),
            queue=queue,
            host="host",
            pid=1,
            devices=("cpu",),
            memory_bytes=memory_bytes,
            cuda_memory_bytes=cuda_memory_bytes,
            cpu_count=2,
            native_bf16=False,
            extras=extras,
            version="0",
        )
        self.workers.register(worker, ttl_seconds=60)
