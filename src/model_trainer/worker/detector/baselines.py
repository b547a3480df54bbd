"""Which earlier detector one is compared with: by its logits of the same texts, which pair text by text."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model_trainer.core import artifact_files as files
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.engine.data.logits import Logits, read_logits
from model_trainer.worker.baselines import completed_folder, find_earlier, if_readable, nothing_to_compare
from model_trainer.worker.parts import WorkerParts

log = get_logger(__name__)

EVALUATION_LOGITS = "logits.npz"
"""Of an evaluation on request, in its folder."""


@dataclass(frozen=True, slots=True)
class DetectorBaseline:
    """A completed training and its folder with the logits in it; it is asked for when they are needed, hours later."""

    run_id: str
    folder: Callable[[], AbstractContextManager[Path]]

    def on_text(self, text_sha256: str) -> Logits | None:
        """Its logits of these very texts; where there are none, those it was evaluated with at its end: the figures
        still stand side by side. None when nothing is left of them, or they cannot be had: for that no training is lost."""
        try:
            with self.folder() as folder:
                return _of_texts(folder, text_sha256)
        except AppError as error:
            log.warning("logits_passed_over", path=self.run_id, error_code=error.code.value)
            return None


def _of_texts(folder: Path, text_sha256: str) -> Logits | None:
    final: Logits | None = None
    later = sorted((folder / files.EVALUATIONS).glob(f"*/{EVALUATION_LOGITS}"), reverse=True)
    for path in (*_of_training(folder), *later):
        try:
            found = read_logits(path)
        except AppError as error:
            log.warning("logits_passed_over", path=path.name, error_code=error.code.value)
            continue
        if found.text_sha256 == text_sha256:
            return found
        final = final or found
    return final


def find_detector_baseline(
    parts: WorkerParts, record: RunRecord, *, asked: str | None
) -> DetectorBaseline | None:
    """What find_earlier() finds of detectors."""
    return find_earlier(parts, record, asked=asked, read=_baseline_of)


def former_baseline(parts: WorkerParts, record: RunRecord, *, asked: str | None) -> DetectorBaseline | None:
    """Whom a training was compared with. A run that has gone since is passed over: nobody asks for it now."""
    if asked is not None:
        return if_readable(parts, asked, _baseline_of)
    return find_detector_baseline(parts, record, asked=None)


def _baseline_of(parts: WorkerParts, record: RunRecord) -> DetectorBaseline:
    with completed_folder(parts, record) as folder:
        paths = _of_training(folder)
        if not paths:
            raise nothing_to_compare(record.run_id)
        read_logits(paths[0])
    return DetectorBaseline(
        run_id=record.run_id, folder=partial(parts.artifacts.use, "models", record.run_id)
    )


def _of_training(folder: Path) -> list[Path]:
    """The split it was evaluated on first."""
    paths = (folder / files.TEST_LOGITS, folder / files.VALIDATION_LOGITS)
    return [path for path in paths if path.exists()]


def with_baseline(baseline: DetectorBaseline | None, ours: Logits) -> tuple[str, Logits] | None:
    """The other run and its logits, as an evaluation takes them."""
    theirs = None if baseline is None else baseline.on_text(ours.text_sha256)
    return None if baseline is None or theirs is None else (baseline.run_id, theirs)
