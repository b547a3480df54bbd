"""Weights in eight bits, behind a gate: taken only when validation texts are judged nearly as before.

Some networks cannot bear it, mostly for a few matrices (onnxruntime #9599, optimum #151): these are left in fp32, the worst
first, until the rest passes or too many are left out.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector import ExportSpec
from model_trainer.core.contracts.export import QuantizationGate
from model_trainer.core.files import disk_errors
from model_trainer.core.logging import get_logger
from model_trainer.engine.evaluation.detector.metrics import RankedTexts
from model_trainer.engine.export.graph import coarsest_first
from model_trainer.serving.probabilities import probabilities, threshold_for

_log = get_logger(__name__)

EXCLUSIONS = (1, 2, 4, 8)
"""So many of the worst nodes stay in fp32, attempt by attempt after the first; beyond, little would be gained."""


FEW_TEXTS = 600
"""Below, even a gate without a single flip cannot show that fewer than half a per cent flip."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Validation texts and what a network says of them."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int8]
    num_words: NDArray[np.int32]


def quantize(path: Path, out: Path, *, excluded: Sequence[str] = ()) -> None:
    """Writes the network at `path` with int8 weights to `out`, but for the nodes `excluded`; same file, same bytes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with disk_errors(out), _without_advice():
        quantize_dynamic(path, out, weight_type=QuantType.QInt8, nodes_to_exclude=list(excluded))


def quantize_behind_gate(
    path: Path,
    out: Path,
    *,
    before: Judged,
    judge: Callable[[Path], NDArray[np.float64]],
    calibration: Calibration,
    spec: ExportSpec,
) -> QuantizationGate:
    """Writes `out` and says whether it may be used. `before` is of the network at `path`; `judge` gives the logits that
    another network has for the same texts."""
    worst_first = coarsest_first(path)
    attempts: list[QuantizationGate] = []
    # Not all of them: that would be fp32 again.
    for number in [0, *(each for each in EXCLUSIONS if each < len(worst_first))]:
        excluded = worst_first[:number]
        quantize(path, out, excluded=excluded)
        after = Judged(logits=judge(out), labels=before.labels, num_words=before.num_words)
        gate = gate_of(
            before,
            after,
            sizes=(path.stat().st_size, out.stat().st_size),
            excluded=excluded,
            calibration=calibration,
            spec=spec,
        )
        _log.info("quantization_tried", attempt=len(attempts) + 1, detail=gate.why)
        if gate.passed:
            return gate
        attempts.append(gate)
    return min(attempts, key=_distance)


def gate_of(
    before: Judged,
    after: Judged,
    *,
    sizes: tuple[int, int],
    excluded: tuple[str, ...],
    calibration: Calibration,
    spec: ExportSpec,
) -> QuantizationGate:
    """Both networks on the same texts, and whether the second may stand for the first."""
    fp32_auroc = _auroc(before)
    int8_auroc = _auroc(after)
    loss = fp32_auroc - int8_auroc
    changed = np.logical_xor(_verdicts(before, calibration), _verdicts(after, calibration))
    flips = int(np.count_nonzero(changed)) / len(changed)
    faults: list[str] = []
    if sizes[1] > spec.max_size * sizes[0]:
        faults.append(f"int8 takes {sizes[1] / sizes[0]:.2f} of the space: nothing is gained")
    if loss > spec.max_auroc_loss:
        faults.append(f"AUROC falls by {loss:.4f}, more than {spec.max_auroc_loss:g}")
    if flips > spec.max_flips:
        faults.append(f"{flips:.2%} of verdicts change, more than {spec.max_flips:.2%}")
    return QuantizationGate(
        num_texts=len(before.labels),
        fp32_bytes=sizes[0],
        int8_bytes=sizes[1],
        fp32_auroc=fp32_auroc,
        int8_auroc=int8_auroc,
        auroc_loss=loss,
        flips=flips,
        excluded_nodes=excluded,
        passed=not faults,
        why="; ".join(faults) or _praise(loss, flips, len(changed)),
    )


def _praise(loss: float, flips: float, num_texts: int) -> str:
    """With what so few texts leave open: without a flip in n texts, up to 3/n of all verdicts may flip (95 %)."""
    told = f"AUROC falls by {max(loss, 0.0):.4f}, {flips:.2%} of verdicts change"
    if num_texts >= FEW_TEXTS:
        return told
    return f"{told} (on {num_texts} texts, which cannot tell less than {3 / num_texts:.1%} from none)"


@contextmanager
def _without_advice() -> Iterator[None]:
    """Inside, the quantizer does not tell the root logger to pre-process the graph: torch's exporter has done so."""

    def is_no_advice(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Please consider to run pre-processing")

    root = logging.getLogger()
    root.addFilter(is_no_advice)
    try:
        yield
    finally:
        root.removeFilter(is_no_advice)


def _auroc(judged: Judged) -> float:
    everything_is_one_group = np.zeros(len(judged.labels), dtype=np.int64)
    return RankedTexts(judged.logits, judged.labels, everything_is_one_group).roc_auc(1)


def _verdicts(judged: Judged, calibration: Calibration) -> NDArray[np.bool_]:
    lengths: list[int] = judged.num_words.tolist()
    thresholds = [threshold_for(calibration, None, num_words).value for num_words in lengths]
    return probabilities(judged.logits, calibration) > np.fromiter(thresholds, np.float64)


def _distance(gate: QuantizationGate) -> tuple[float, float]:
    return gate.flips, gate.auroc_loss
