"""Judges texts with a trained detector, at once: no job, no worker. Knows no HTTP; loads no library before it is needed."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from model_trainer.core.artifact_files import BUNDLE, MANIFEST
from model_trainer.core.contracts.detector import DecisionName
from model_trainer.core.contracts.prediction import Prediction, Predictions, PredictSpec
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.orchestrators.detectors import check_trained_detector

KEPT_DETECTORS = 2
"""In memory at a time: a large encoder in fp32 takes 1.7 GB."""
_ABOUT_THE_BUNDLE = (ErrorCode.ARTIFACT_NOT_FOUND, ErrorCode.ARTIFACT_CORRUPT)


class Judge(Protocol):
    """A loaded bundle, as far as it is used here."""

    def judge(self, texts: Sequence[str], *, decision: DecisionName | None) -> Sequence[Prediction]:
        """One prediction a text, in their order."""
        ...


class PredictionOrchestrator:
    """Predictions on request; the detectors asked for last stay loaded."""

    def __init__(
        self,
        *,
        artifacts: ArtifactTree,
        load: Callable[[Path], Judge] | None = None,
        kept: int = KEPT_DETECTORS,
    ) -> None:
        self._artifacts = artifacts
        self._load = load or load_bundle
        self._kept = kept
        self._guard = threading.Lock()
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()

    def predict(self, spec: PredictSpec, *, run: RunRecord) -> Predictions:
        """What the detector of `run` says of each text.

        Raises CONFLICT for a run that is no completed detector, CONFIG_INVALID for texts with nothing in them,
        ARTIFACT_NOT_FOUND or ARTIFACT_CORRUPT naming the part of the bundle, SERVICE_UNAVAILABLE where a library is missing.
        """
        check_trained_detector(run, wanted="judge texts")
        loaded = self._judge_of(run.run_id)
        with loaded.one_at_a_time:
            predictions = loaded.judge.judge(spec.texts, decision=spec.decision)
        return Predictions(run_id=run.run_id, predictions=tuple(predictions))

    def _judge_of(self, run_id: str) -> "_Loaded":
        try:
            bundle = self._artifacts.folder("models", run_id) / BUNDLE
            digest = _digest(bundle / MANIFEST)
            with self._guard:
                found = self._loaded.get(run_id)
                if found is None or found.digest != digest:
                    self._loaded.pop(run_id, None)
                    while len(self._loaded) >= self._kept:  # makes room before the next one is read
                        self._loaded.popitem(last=False)
                    found = _Loaded(digest, self._load(bundle))
                    self._loaded[run_id] = found
                self._loaded.move_to_end(run_id)
        except AppError as error:
            if error.code not in _ABOUT_THE_BUNDLE:
                raise
            message = f"{error.message} POST /runs/{run_id}/export makes the bundle again."
            raise AppError(error.code, message, facts=error.facts, faults=error.faults) from error
        return found


@dataclass(frozen=True, slots=True)
class _Loaded:
    digest: str
    judge: Judge
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    """Two at once would only share the same processors."""


def _digest(manifest: Path) -> str:
    """Of a bundle's manifest: a bundle that was made again has another, so what is loaded is never older than what lies
    there. Empty where there is none: to load the bundle says why then."""
    try:
        return hashlib.sha256(manifest.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def load_bundle(bundle: Path) -> Judge:
    """The detector in `bundle`, every digest of which is checked; raises ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT and, where
    onnxruntime or tokenizers are missing, SERVICE_UNAVAILABLE."""
    from model_trainer.serving.detector import Detector

    return Detector.load(bundle, threads=None)
