"""The export, start to end: model.onnx, int8 if asked for and allowed, the runtime bundle, export_report.json."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.artifact_files import EXPORT_REPORT, ONNX
from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector import ExportSpec, Label, TrainingConfig
from model_trainer.core.contracts.export import ExportReport, QuantizationGate
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.files import TEMPORARY_PREFIX, sha256_of, write_atomically
from model_trainer.engine.export.bundle import refresh_bundle, write_bundle
from model_trainer.engine.export.parity import parity
from model_trainer.engine.export.quantize import Judged, quantize_behind_gate
from model_trainer.engine.export.to_onnx import export_onnx
from model_trainer.engine.protocols import TextClassifier
from model_trainer.serving.bundle import TOKENIZER
from model_trainer.serving.detector import TextScorer, windows_in_a_batch
from model_trainer.serving.session import OnnxNetwork
from model_trainer.serving.tokens import TokenizerFile

ENOUGH_TEXTS = 2000
"""Validation texts that the gate of int8 needs at most: one verdict in 2,000 is a tenth of what may flip."""
_INT8 = "int8.onnx"


def export_detector(
    model: TextClassifier,
    *,
    artifact: Path,
    config: TrainingConfig,
    vocab_size: int,
    calibration: Calibration,
    sample: Sequence[tuple[str, Label]],
    spec: ExportSpec,
    threads: int | None,
    still_wanted: Callable[[], None],
) -> ExportReport:
    """Writes model.onnx (fp32), runtime_bundle/ and export_report.json into the folder `artifact`, whose model/ has the
    tokenizer. `sample` are validation texts, at most ENOUGH_TEXTS; only int8 looks at them.

    `still_wanted` is called now and then, and may raise to stop. Whatever is raised, the files from before stay.
    """
    work = artifact / f"{TEMPORARY_PREFIX}{new_ulid()}"
    work.mkdir()
    try:
        fp32, int8 = work / ONNX, work / _INT8
        opset = export_onnx(model, fp32, windows=config.windows)
        still_wanted()
        found = parity(model, fp32, windows=config.windows, vocab_size=vocab_size, threads=threads)
        gate = None
        if spec.quantize:
            gate = _try_int8(
                fp32,
                int8,
                _GateTexts(artifact / TOKENIZER, config, sample, threads=threads, still_wanted=still_wanted),
                calibration=calibration,
                spec=spec,
            )
        takes_int8 = gate is not None and gate.passed
        still_wanted()
        write_bundle(
            artifact,
            int8 if takes_int8 else fp32,
            config=config,
            calibration=calibration,
            quantized=takes_int8,
        )
        report = ExportReport(
            opset=opset,
            parity=found,
            quantization=gate,
            bundled="int8" if takes_int8 else "fp32",
            onnx_sha256=sha256_of(fp32),
        )
        fp32.replace(artifact / ONNX)
        write_atomically(artifact / EXPORT_REPORT, f"{report.model_dump_json(indent=2)}\n".encode())
        return report
    finally:
        shutil.rmtree(work, ignore_errors=True)


def refresh_export(artifact: Path, calibration: Calibration) -> None:
    """The bundle in the folder `artifact` with another calibration, and what export_report.json says of int8 brought up to
    date; raises as refresh_bundle()."""
    refresh_bundle(artifact, calibration)
    path = artifact / EXPORT_REPORT
    report = ExportReport.model_validate_json(path.read_bytes())
    if report.bundled == "int8":
        fp32: dict[str, object] = {"bundled": "fp32", "quantization": None}
        write_atomically(path, f"{report.model_copy(update=fp32).model_dump_json(indent=2)}\n".encode())


class _GateTexts:
    """The texts that int8 is tried on, as the bundle would read them."""

    def __init__(
        self,
        tokenizer: Path,
        config: TrainingConfig,
        sample: Sequence[tuple[str, Label]],
        *,
        threads: int | None,
        still_wanted: Callable[[], None],
    ) -> None:
        self._texts = [text for text, _ in sample]
        labels: list[int] = [label for _, label in sample]
        lengths = [len(text.split()) for text in self._texts]
        self.labels = np.fromiter(labels, np.int8)
        self.num_words = np.fromiter(lengths, np.int32)
        self._tokens = TokenizerFile(tokenizer)
        self._config = config
        self._threads = threads
        self._still_wanted = still_wanted

    def logits(self, network: Path, *, quantized: bool) -> NDArray[np.float64]:
        scorer = TextScorer(
            OnnxNetwork(network, threads=self._threads),
            self._tokens,
            windows=self._config.windows,
            reading=self._config.reading,
            batch_windows=windows_in_a_batch(quantized=quantized),
        )
        logits: list[float] = []
        for text in self._texts:
            self._still_wanted()
            logits += [scored.logit for scored in scorer.score([text])]
        return np.fromiter(logits, np.float64)


def _try_int8(
    fp32: Path, int8: Path, texts: _GateTexts, *, calibration: Calibration, spec: ExportSpec
) -> QuantizationGate:
    if len(np.unique(texts.labels)) < 2:
        raise _one_class()
    before = Judged(
        logits=texts.logits(fp32, quantized=False), labels=texts.labels, num_words=texts.num_words
    )
    return quantize_behind_gate(
        fp32,
        int8,
        before=before,
        judge=lambda path: texts.logits(path, quantized=True),
        calibration=calibration,
        spec=spec,
    )


def _one_class() -> AppError:
    message = (
        "int8 can only be tried on validation texts of both classes. Leave quantize out, or give more texts "
        "to validation (holdout_fraction)."
    )
    return AppError(
        ErrorCode.DATA_TOO_SMALL, message, faults=[FieldFault(pointer="/export/quantize", message=message)]
    )
