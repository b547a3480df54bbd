"""Verdicts on texts: as predictions make them, and in figures with what was promised of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.contracts.calibration import Calibration, Threshold
from model_trainer.core.contracts.detector import DecisionName
from model_trainer.core.contracts.detector_evaluation import Decisions, Interval
from model_trainer.engine.calibration.order_statistics import share_above_among
from model_trainer.engine.evaluation.detector.bootstrap import figure
from model_trainer.engine.evaluation.detector.metrics import DecisionFigures
from model_trainer.serving.probabilities import threshold_for


def served_verdicts(
    predicted: NDArray[np.float64], num_words: NDArray[np.int32], calibration: Calibration
) -> NDArray[np.bool_]:
    """Which texts are called AI by the calibration's decision, each at the threshold of its length."""
    lengths = np.unique(num_words)
    known: list[int] = lengths.tolist()
    values = [threshold_for(calibration, None, length).value for length in known]
    of_text: NDArray[np.float64] = np.take(values, np.searchsorted(lengths, num_words))
    return predicted > of_text


def promise_of(threshold: Threshold, *, num_sources: int) -> Interval | None:
    """Where the share of new human texts called AI was expected to fall, one of each of `num_sources` source documents;
    None where nothing was promised."""
    fpr_range = threshold.fpr_range
    if fpr_range is None:
        return None
    low, high = share_above_among(num_sources, num_texts=fpr_range.num_human, order=fpr_range.order)
    return Interval(low=low, high=high)


def decisions_of(
    name: DecisionName,
    threshold: float,
    *,
    point: DecisionFigures,
    drawn: Sequence[DecisionFigures],
    fpr_by_source: float,
    promise: Interval | None,
) -> Decisions:
    """The figures of verdicts and their intervals. A promise is kept by fewer texts than expected, too: scores that tie with
    the threshold are human."""
    fpr = figure(point.fpr, [each.fpr for each in drawn])
    return Decisions(
        name=name,
        threshold=threshold,
        f1=figure(point.f1, [each.f1 for each in drawn]),
        precision=figure(point.precision, [each.precision for each in drawn]),
        recall=figure(point.recall, [each.recall for each in drawn]),
        accuracy=figure(point.accuracy, [each.accuracy for each in drawn]),
        mcc=figure(point.mcc, [each.mcc for each in drawn]),
        fpr=fpr,
        fpr_by_source=fpr_by_source,
        promised_fpr=promise,
        kept_promise=None if promise is None else fpr_by_source <= promise.high,
    )
