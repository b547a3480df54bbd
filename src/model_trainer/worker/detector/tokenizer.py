"""The tokenizer a detector reads with: one of ours, its encoder's own, that of the run it begins from, or a new one.

It lies in model/ beside the weights and is part of what was learnt: a second attempt keeps the one it finds there.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from model_trainer.core import artifact_files as files
from model_trainer.core.contracts.detector import OWN_VOCABULARY, DetectorSpec, WindowPlan
from model_trainer.core.contracts.tokenizer import TokenizerInfo
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import sha256_of
from model_trainer.models.family import DetectorFamily
from model_trainer.models.inheritance import PARENT_FIELD
from model_trainer.models.requirements import check_fits
from model_trainer.serving.windows import plan_windows
from model_trainer.tokenizers.bpe.config import BpeSpec
from model_trainer.tokenizers.kind import TokenizerBackend, TrainingReport
from model_trainer.worker.detector.config_file import read_training_config
from model_trainer.worker.outcomes import faults_at
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.trained import load_tokenizer

_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class DetectorTokenizer:
    """What lies in model/, and what windows of its tokens begin and end with."""

    path: Path
    vocab_size: int
    sha256: str
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad_id: int

    def plan(self, spec: DetectorSpec, *, length: int) -> WindowPlan:
        """Windows of so many tokens; raises CONFIG_INVALID where no text would fit in."""
        return plan_windows(
            length=length,
            stride=spec.window_stride,
            prefix=self.prefix,
            suffix=self.suffix,
            pad_id=self.pad_id,
        )


@dataclass(frozen=True, slots=True)
class TrainingTexts:
    """What a new tokenizer is made from."""

    texts: Callable[[], Iterator[str]]
    """Gives a fresh pass; called from a thread of the library's."""
    num_bytes: int


def expected_vocab_size(parts: WorkerParts, spec: DetectorSpec) -> int | None:
    """What the vocabulary will be, before there is one: enough to refuse a model that cannot be. None for the tokenizer of
    an encoder, which has to be fetched."""
    if spec.tokenizer_id is not None:
        return load_tokenizer(parts, spec.tokenizer_id)[1].inspect().vocab_size
    return None if spec.brings_tokenizer else spec.vocab_size or OWN_VOCABULARY


def write_tokenizer(
    parts: WorkerParts,
    spec: DetectorSpec,
    *,
    family: DetectorFamily,
    folder: Path,
    texts: Callable[[], TrainingTexts],
    report: TrainingReport,
) -> DetectorTokenizer:
    """Puts the tokenizer of `spec` into `folder`; `texts` are asked for only where one is made from them.

    Raises TOKENIZER_NOT_FOUND, TOKENIZER_MISMATCH, VOCAB_TOO_LARGE, and what the encoder's backend does.
    """
    folder.mkdir(exist_ok=True)
    if spec.tokenizer_id is not None:
        kind, tokenizer = load_tokenizer(parts, spec.tokenizer_id)
        check_fits(family, kind)
        with parts.artifacts.use("tokenizers", spec.tokenizer_id) as origin:
            _copy(origin, folder)
        return _ours(folder, tokenizer.inspect())
    if spec.brings_tokenizer:
        plan = family.classifier().write_tokenizer(spec, folder)
        return _in(folder, prefix=plan.prefix, suffix=plan.suffix, pad_id=plan.pad_id)
    backend = parts.registry.tokenizer("bpe").backend()
    if spec.init_from is not None:
        with faults_at(PARENT_FIELD), parts.artifacts.use("models", spec.init_from.run_id) as parent:
            return _of_parent(parent, folder, backend=backend)
    if not all((folder / name).exists() for name in _FILES):
        _train(backend, spec, texts=texts(), folder=folder, report=report)
    return _ours(folder, backend.load(folder).inspect())


def _train(
    backend: TokenizerBackend,
    spec: DetectorSpec,
    *,
    texts: TrainingTexts,
    folder: Path,
    report: TrainingReport,
) -> None:
    """Of the size asked for; of the size that the texts can give where none was."""

    def train(vocab_size: int) -> None:
        asked = BpeSpec(
            corpus_path=spec.data_paths[0], vocab_size=vocab_size, seed=spec.seed, threads=spec.cpu_threads
        )
        backend.train(texts.texts, asked, num_bytes=texts.num_bytes, folder=folder, report=report)

    try:
        train(spec.vocab_size or OWN_VOCABULARY)
    except AppError as error:
        possible = error.facts.get("possible")
        if spec.vocab_size is not None or not isinstance(possible, int):
            raise
        train(possible)


def _of_parent(parent: Path, folder: Path, *, backend: TokenizerBackend) -> DetectorTokenizer:
    """Its weights know no other. A parent that has not come to its end yet can only have one that was made here."""
    _copy(parent / files.MODEL, folder)
    if not (parent / files.TRAINING_CONFIG).exists():
        return _ours(folder, backend.load(folder).inspect())
    plan = read_training_config(parent / files.TRAINING_CONFIG).windows
    return _in(folder, prefix=plan.prefix, suffix=plan.suffix, pad_id=plan.pad_id)


def _copy(origin: Path, folder: Path) -> None:
    for name in _FILES:
        if not (origin / name).is_file():
            message = f"There is no {name} where the tokenizer should be. Choose another run or tokenizer."
            raise AppError(ErrorCode.ARTIFACT_CORRUPT, message)
        shutil.copyfile(origin / name, folder / name)


def _ours(folder: Path, info: TokenizerInfo) -> DetectorTokenizer:
    """Between two ends of text, so that no window is without a token."""
    end = () if info.end_of_text_id is None else (info.end_of_text_id,)
    return _in(folder, prefix=end, suffix=end, pad_id=info.end_of_text_id or 0)


def _in(folder: Path, *, prefix: tuple[int, ...], suffix: tuple[int, ...], pad_id: int) -> DetectorTokenizer:
    path = folder / _FILES[0]
    return DetectorTokenizer(
        path=path,
        vocab_size=Tokenizer.from_file(str(path)).get_vocab_size(),
        sha256=sha256_of(path),
        prefix=prefix,
        suffix=suffix,
        pad_id=pad_id,
    )
