"""Models that stay loaded: those asked for last, as many as memory allows, none older than what lies on disk."""

import gc
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model_trainer.core.artifact_files import BUNDLE, MANIFEST, ONNX
from model_trainer.core.contracts.detector import DecisionName
from model_trainer.core.contracts.prediction import Prediction
from model_trainer.core.contracts.training import LanguageModelSpec, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.protocols import Decoder, Device
from model_trainer.models.family import LanguageFamily
from model_trainer.models.recipe_file import RECIPE_FILE, read_recipe
from model_trainer.serving.detector import Detector
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.trained import TOKENIZER_FILES, completed_training, load_tokenizer

log = get_logger(__name__)

MODEL_FILES = ("model.safetensors", "config.json", RECIPE_FILE, f"{BUNDLE}/{MANIFEST}", f"{BUNDLE}/{ONNX}")
"""What a model is loaded from: a language model from the first three, a detector from the others."""
MEMORY_FACTOR = 1.5
"""What a loaded model takes, over its files: buffers, and what a runtime makes of them."""
SMALL_MODEL_BYTES = 64 << 20
"""Weights of so few bytes are asked with one thread: the others would only be waited for. Measured with 0.8M parameters on two
cores that others used too: ten tokens took 10 ms with one thread, 31 ms with two."""
_ABOUT_THE_BUNDLE = (ErrorCode.ARTIFACT_NOT_FOUND, ErrorCode.ARTIFACT_CORRUPT)


class Judge(Protocol):
    """A loaded bundle, as far as it is used here."""

    def judge(self, texts: Sequence[str], *, decision: DecisionName | None) -> Sequence[Prediction]:
        """One prediction a text, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class AskedModel:
    """A language model, ready to be asked."""

    decoder: Decoder
    tokenizer: Tokenizer
    tokenizer_folder: Path
    eval_stride: int
    """Tokens by which the window moves on in texts longer than the context."""


@dataclass(frozen=True, slots=True)
class AskedDetector:
    """A detector, ready to judge."""

    judge: Judge


@dataclass(frozen=True, slots=True)
class InUse:
    """What a request works with."""

    model: AskedModel | AskedDetector
    load_milliseconds: float
    """0 for a model that was loaded already."""


@dataclass(frozen=True, slots=True)
class _Signature:
    """Inode, size and time of change (ns) of each file; None for one that is not there."""

    files: tuple[tuple[int, int, int] | None, ...]

    @property
    def num_bytes(self) -> int:
        return sum(file[1] for file in self.files if file is not None)


@dataclass(frozen=True, slots=True)
class _Kept:
    model: AskedModel | AskedDetector
    tokenizer_id: str | None
    signature: _Signature


class LoadedModels:
    """The models of one process, which works with one at a time.

    Args:
        parts: where models, tokenizers and their records are.
        device: where language models compute.
        use_threads: tells torch how many threads one operation may use; called for each model that is asked.
        cpus: processors of this machine: the threads of a model that is not small.
        memory_bytes: when all together take more, those go that were asked for longest ago; one that takes more by itself is
            loaded all the same.
        load_bundle: reads a detector.
    """

    def __init__(
        self,
        parts: WorkerParts,
        *,
        device: Device,
        memory_bytes: int,
        use_threads: Callable[[int], None],
        cpus: int,
        load_bundle: Callable[[Path], Judge] | None = None,
    ) -> None:
        self._parts = parts
        self._device = device
        self._memory_bytes = memory_bytes
        self._use_threads = use_threads
        self._cpus = cpus
        self._load_bundle = load_bundle or _load_bundle
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    @property
    def run_ids(self) -> tuple[str, ...]:
        """What is loaded; what was asked for last comes last."""
        return tuple(self._kept)

    def drop(self) -> tuple[str, ...]:
        """Forgets all models, gives their memory back, and says whose they were."""
        run_ids = self.run_ids
        self._kept.clear()
        self._give_memory_back()
        return run_ids

    @contextmanager
    def use(self, run_id: str) -> Iterator[InUse]:
        """The model of a completed training; its files stay on this machine inside the with-block.

        Raises RUN_NOT_FOUND; CONFLICT when it is not completed; ARTIFACT_NOT_FOUND when it has been deleted, even if it is
        still loaded; ARTIFACT_CORRUPT; TOKENIZER_NOT_FOUND; SERVICE_UNAVAILABLE where a library is missing; and what the
        store raises that it must be brought back from.
        """
        began = time.monotonic()
        with ExitStack() as held:
            folder = held.enter_context(self._parts.artifacts.use("models", run_id))
            kept = self._kept.get(run_id)
            tokenizer_id = self._tokenizer_id_of(run_id) if kept is None else kept.tokenizer_id
            paths = [folder / name for name in MODEL_FILES]
            if tokenizer_id is not None:
                tokens = held.enter_context(self._parts.artifacts.use("tokenizers", tokenizer_id))
                paths += [tokens / name for name in TOKENIZER_FILES]
            signature = _signature_of(
                paths
            )  # before it is loaded: what changes meanwhile is seen the next time
            load_milliseconds = 0.0
            if kept is None or kept.signature != signature:
                kept = None  # what is stale does not lie beside what is loaded now
                self._make_room(run_id, signature)
                kept = _Kept(self._loaded(run_id, folder), tokenizer_id, signature)
                self._kept[run_id] = kept
                load_milliseconds = (time.monotonic() - began) * 1000
                log.info("model_loaded", run_id=run_id, duration_seconds=load_milliseconds / 1000)
            self._kept.move_to_end(run_id)
            self._use_threads(1 if signature.num_bytes < SMALL_MODEL_BYTES else self._cpus)
            yield InUse(kept.model, load_milliseconds)

    def _spec_of(self, run_id: str) -> TrainSpec:
        return completed_training(self._parts, run_id)[1]

    def _tokenizer_id_of(self, run_id: str) -> str | None:
        spec = self._spec_of(run_id)
        return spec.tokenizer_id if isinstance(spec, LanguageModelSpec) else None

    def _make_room(self, run_id: str, wanted: _Signature) -> None:
        if self._kept.pop(run_id, None) is not None:
            self._give_memory_back()
        kept_bytes = sum(kept.signature.num_bytes for kept in self._kept.values())
        while self._kept and (kept_bytes + wanted.num_bytes) * MEMORY_FACTOR > self._memory_bytes:
            name, oldest = self._kept.popitem(last=False)
            kept_bytes -= oldest.signature.num_bytes
            log.info("model_unloaded", run_id=name)
            del oldest
            self._give_memory_back()

    def _give_memory_back(self) -> None:
        gc.collect()  # a network may hang together in a circle, which its last user's leave does not end
        self._device.release()

    def _loaded(self, run_id: str, folder: Path) -> AskedModel | AskedDetector:
        spec = self._spec_of(run_id)
        family = self._parts.registry.family(spec.model_family)
        if not isinstance(spec, LanguageModelSpec) or not isinstance(family, LanguageFamily):
            return AskedDetector(self._loaded_bundle(run_id, folder))
        recipe = read_recipe(folder)
        _, tokenizer = load_tokenizer(self._parts, spec.tokenizer_id)
        return AskedModel(
            decoder=family.backend().decoder(recipe, folder, self._device),
            tokenizer=tokenizer,
            tokenizer_folder=self._parts.artifacts.folder("tokenizers", spec.tokenizer_id),
            eval_stride=recipe.eval_stride,
        )

    def _loaded_bundle(self, run_id: str, folder: Path) -> Judge:
        try:
            return self._load_bundle(folder / BUNDLE)
        except AppError as error:
            if error.code not in _ABOUT_THE_BUNDLE:
                raise
            message = f"{error.message} POST /runs/{run_id}/export makes the bundle again."
            raise AppError(error.code, message, facts=error.facts, faults=error.faults) from error


def _load_bundle(bundle: Path) -> Judge:
    return Detector.load(bundle, threads=None)


def _signature_of(paths: Sequence[Path]) -> _Signature:
    return _Signature(tuple(_stat_of(path) for path in paths))


def _stat_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
