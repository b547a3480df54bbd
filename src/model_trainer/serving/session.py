"""An exported network in onnxruntime: windows of token ids in, logits out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger

log = get_logger(__name__)

INPUT_NAMES = ("input_ids", "attention_mask")
OUTPUT_NAME = "logits"
MOST_WINDOWS = 32
"""In one batch: more make nothing faster on CPUs and take more memory."""

_ERRORS_ONLY = 3


class Network(Protocol):
    """What judges windows."""

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """One logit a window [B], of ids and mask [B, T]."""
        ...


class OnnxNetwork:
    """A Network in an .onnx file, on the CPU."""

    def __init__(self, path: Path, *, threads: int | None) -> None:
        """Raises ARTIFACT_CORRUPT for what onnxruntime does not take, SERVICE_UNAVAILABLE where it is not installed.

        `threads` None: as many as onnxruntime thinks right.
        """
        try:
            from onnxruntime import InferenceSession, SessionOptions
        except ImportError as error:
            raise not_installed("onnxruntime") from error
        options = SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # The library has an exception of its own for each status, with no base of their own.
            log.warning("network_unreadable", path=path.name, detail=str(error))
            raise AppError(
                ErrorCode.ARTIFACT_CORRUPT,
                f"onnxruntime cannot load {path.name}: {error}. Export the model again.",
                facts={"path": path.name},
            ) from error

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """One logit a window."""
        feed = dict(zip(INPUT_NAMES, (input_ids, attention_mask), strict=True))
        return self._session.run([OUTPUT_NAME], feed)[0]


def logits_of(
    network: Network, windows: Sequence[Sequence[int]], *, pad_id: int, batch_windows: int = MOST_WINDOWS
) -> NDArray[np.float64]:
    """The logit of each window, in order; those of about one length go together, so that little is padding.

    Raises ARTIFACT_CORRUPT when one is no number.
    """
    logits = np.zeros(len(windows), dtype=np.float64)
    by_length = np.argsort([len(window) for window in windows], kind="stable")
    for start in range(0, len(windows), batch_windows):
        rows: list[int] = by_length[start : start + batch_windows].tolist()
        logits[rows] = network.run(*padded([windows[row] for row in rows], pad_id=pad_id))
    if not bool(np.isfinite(logits).all()):
        raise AppError(
            ErrorCode.ARTIFACT_CORRUPT,
            "The network answers with what is no number: its weights are broken. Train it again.",
        )
    return logits


def padded(windows: Sequence[Sequence[int]], *, pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask [B, T] of some windows, as long as the longest; a window without a token is one of padding."""
    longest = max(1, *(len(window) for window in windows))
    ids = np.full((len(windows), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window)] = window
        mask[row, : len(window)] = 1
    return ids, mask


def not_installed(library: str) -> AppError:
    """The error of a library that is not there."""
    return AppError(
        ErrorCode.SERVICE_UNAVAILABLE,
        f"Judging texts needs {library}, which is not installed here: pip install onnxruntime tokenizers numpy.",
        facts={"library": library},
    )
