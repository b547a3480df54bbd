"""Measures a calibrated detector on labelled texts: eval_metrics.json from their logits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from model_trainer.core.contracts.calibration import Calibration, ProbabilityQuality, Threshold
from model_trainer.core.contracts.detector import ReportSpec
from model_trainer.core.contracts.detector_evaluation import (
    Decisions,
    DetectorComparison,
    DetectorEvaluation,
    Interval,
    NullTest,
    Ranking,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically
from model_trainer.engine.calibration.calibrate import FEW_TEXTS, count_classes
from model_trainer.engine.calibration.order_statistics import one_of_each
from model_trainer.engine.calibration.quality import probability_quality, reliability_bins
from model_trainer.engine.data.logits import Logits
from model_trainer.engine.evaluation.detector.bootstrap import ece_interval, figure, null_test, resamplings
from model_trainer.engine.evaluation.detector.comparison import Contender
from model_trainer.engine.evaluation.detector.metrics import (
    DecisionFigures,
    JudgedTexts,
    RankedTexts,
    RankingFigures,
    numbered,
)
from model_trainer.engine.evaluation.detector.slices import left_out, robustness_of, slices_of
from model_trainer.engine.evaluation.detector.verdicts import decisions_of, promise_of, served_verdicts
from model_trainer.serving.probabilities import log_odds, sigmoid


def evaluate_detector(
    logits: Logits,
    calibration: Calibration,
    *,
    run_id: str,
    evaluation_id: str,
    split: str,
    data_sha256: str,
    report: ReportSpec,
    baseline: tuple[str, Logits] | None,
    seed: int = 0,
) -> DetectorEvaluation:
    """All figures of these texts; `baseline` is another run's id and its logits.

    The same for the same arguments, to the last bit. Raises DATA_TOO_SMALL when a class is missing, DIVERGED when a logit is
    not a number.
    """
    num_human, num_ai = count_classes(logits)
    odds = log_odds(logits.logits, calibration)
    predicted = sigmoid(odds)
    sources = _human_sources(logits)
    measured = _measured(logits, predicted, calibration, report=report, baseline=baseline, seed=seed)
    own_texts = logits.digest() == calibration.logits_sha256
    promises = {} if own_texts else _promises(calibration, len(sources))
    quality = probability_quality(odds, logits.labels)
    ece = ece_interval(predicted, seed=seed) if report.bootstrap_samples else None
    null = null_test(logits.logits, logits.labels, seed=seed)
    decisions = measured.decisions(promises)
    return DetectorEvaluation(
        run_id=run_id,
        evaluation_id=evaluation_id,
        split=split,
        data_sha256=data_sha256,
        text_sha256=logits.text_sha256,
        num_human=num_human,
        num_ai=num_ai,
        num_groups=len(np.unique(logits.groups)),
        ranking=measured.ranking(),
        decisions=decisions,
        decision=calibration.thresholds.decision,
        probabilities=quality,
        ece_interval=ece,
        reliability=reliability_bins(predicted, logits.labels),
        uncertain=_share_uncertain(predicted, calibration),
        slices=slices_of(logits, calibration),
        robustness=robustness_of(logits, calibration),
        null_test=null,
        comparison=measured.comparison(),
        by_length=measured.by_length(),
        warnings=(
            *_about_numbers(num_human, num_ai, own_texts=own_texts),
            *_about_figures(decisions, quality, ece=ece, null=null),
            *left_out(logits),
        ),
    )


def write_evaluation(evaluation: DetectorEvaluation, path: Path) -> None:
    """Puts eval_metrics.json at `path`, whole or not at all."""
    write_atomically(path, evaluation.model_dump_json(indent=2).encode())


def read_evaluation(path: Path) -> DetectorEvaluation:
    """What write_evaluation() wrote; raises ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT."""
    try:
        return DetectorEvaluation.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise AppError(
            ErrorCode.ARTIFACT_NOT_FOUND,
            f"There is no {path.name}. Evaluate this model first.",
            facts={"path": path.name},
        ) from error
    except (OSError, ValidationError) as error:
        raise AppError(
            ErrorCode.ARTIFACT_CORRUPT,
            f"{path.name} cannot be read. Evaluate this model again.",
            facts={"path": path.name},
        ) from error


@dataclass(slots=True)
class _Judgement:
    """Verdicts at one threshold: their figures, and those of every round of resamplings."""

    threshold: Threshold
    value: float
    judged: JudgedTexts
    point: DecisionFigures
    fpr_by_source: float
    """With one human text of each source document."""
    drawn: list[DecisionFigures] = field(default_factory=list)

    def decisions(self, promise: Interval | None) -> Decisions:
        return decisions_of(
            self.threshold.name,
            self.value,
            point=self.point,
            drawn=self.drawn,
            fpr_by_source=self.fpr_by_source,
            promise=promise,
        )


@dataclass(slots=True)
class _Measured:
    """Everything that is resampled, gathered round by round: the resamplings themselves are not kept."""

    ranked: RankedTexts
    point: RankingFigures
    judgements: list[_Judgement]
    served: _Judgement | None
    contender: Contender | None
    drawn: list[RankingFigures] = field(default_factory=list)
    theirs: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, weights_BG: NDArray[np.float64]) -> None:
        """One round of resamplings."""
        self.drawn.append(self.ranked.figures(weights_BG))
        for judgement in self.judgements:
            judgement.drawn.append(judgement.judged.figures(weights_BG))
        if self.served is not None:
            self.served.drawn.append(self.served.judged.figures(weights_BG))
        if self.contender is not None:
            self.theirs.append(self.contender.resampled(weights_BG))

    def ranking(self) -> Ranking:
        return Ranking(
            roc_auc=figure(self.point.roc_auc, [each.roc_auc for each in self.drawn]),
            pr_auc=figure(self.point.pr_auc, [each.pr_auc for each in self.drawn]),
            tpr_at_fpr_1=figure(self.point.tpr_at_fpr_1, [each.tpr_at_fpr_1 for each in self.drawn]),
            tpr_at_fpr_5=figure(self.point.tpr_at_fpr_5, [each.tpr_at_fpr_5 for each in self.drawn]),
        )

    def decisions(self, promises: dict[str, Interval]) -> tuple[Decisions, ...]:
        return tuple(each.decisions(promises.get(each.threshold.name)) for each in self.judgements)

    def by_length(self) -> Decisions | None:
        return None if self.served is None else self.served.decisions(None)

    def comparison(self) -> DetectorComparison | None:
        if self.contender is None:
            return None
        return self.contender.compared(
            self.ranking().roc_auc.value,
            our_rounds=[each.roc_auc for each in self.drawn],
            their_rounds=self.theirs,
        )


def _measured(
    logits: Logits,
    predicted: NDArray[np.float64],
    calibration: Calibration,
    *,
    report: ReportSpec,
    baseline: tuple[str, Logits] | None,
    seed: int,
) -> _Measured:
    groups = numbered(logits.groups)
    sources = _human_sources(logits)
    all_once = np.ones((1, int(np.amax(groups)) + 1))
    thresholds = calibration.thresholds

    def judgement(threshold: Threshold, value: float, called_ai: NDArray[np.bool_]) -> _Judgement:
        judged = JudgedTexts(called_ai, logits.labels, groups)
        by_source = int(np.count_nonzero(called_ai[sources])) / len(sources)
        return _Judgement(threshold, value, judged, judged.figures(all_once), by_source)

    served = None
    if any(bucket.thresholds for bucket in thresholds.length_buckets):
        verdicts = served_verdicts(predicted, logits.num_words, calibration)
        served = judgement(thresholds.named(thresholds.decision), calibration.optimal_threshold, verdicts)
    # Logits rank the texts, not probabilities: two logits may be one probability to the last bit.
    ranked = RankedTexts(logits.logits, logits.labels, groups)
    measured = _Measured(
        ranked=ranked,
        point=ranked.figures(all_once),
        judgements=[
            judgement(each, each.value, predicted > each.value)
            for each in thresholds.thresholds
            if each.value is not None
        ],
        served=served,
        contender=None if baseline is None else Contender(*baseline, logits),
    )
    for weights_BG in resamplings(logits.labels, groups, samples=report.bootstrap_samples, seed=seed):
        measured.add(weights_BG)
    return measured


def _human_sources(logits: Logits) -> NDArray[np.int64]:
    """Places of one human text of each source document."""
    human: NDArray[np.int64] = np.flatnonzero(np.equal(logits.labels, 0))
    return np.take(human, one_of_each(np.take(logits.groups, human)))


def _promises(calibration: Calibration, num_sources: int) -> dict[str, Interval]:
    promises: dict[str, Interval] = {}
    for threshold in calibration.thresholds.thresholds:
        promise = promise_of(threshold, num_sources=num_sources)
        if promise is not None:
            promises[threshold.name] = promise
    return promises


def _share_uncertain(predicted: NDArray[np.float64], calibration: Calibration) -> float:
    band = calibration.thresholds.band
    if band is None:
        return 0.0
    return int(np.count_nonzero((predicted > band.low) & (predicted <= band.high))) / len(predicted)


def _about_numbers(num_human: int, num_ai: int, *, own_texts: bool) -> list[str]:
    warnings: list[str] = []
    if min(num_human, num_ai) < FEW_TEXTS:
        warnings.append(
            f"Measured on {num_human} human and {num_ai} AI texts: with fewer than {FEW_TEXTS} of a class, "
            "figures are rough."
        )
    if own_texts:
        warnings.append(
            "These are the texts that the calibration was fitted on: thresholds and probabilities look better here than "
            "on other texts."
        )
    return warnings


def _about_figures(
    decisions: Sequence[Decisions], quality: ProbabilityQuality, *, ece: Interval | None, null: NullTest
) -> list[str]:
    warnings = [
        f"{each.name}: {each.fpr.value:.2%} of human texts are called AI; at most {each.promised_fpr.high:.2%} were "
        "expected. These texts differ from those of the calibration."
        for each in decisions
        if each.promised_fpr is not None and not each.kept_promise
    ]
    if ece is not None and quality.ece > ece.high:
        warnings.append(
            f"Probabilities are off by {quality.ece:.3f} on average, more than the {ece.high:.3f} that luck explains. "
            "Calibrate on texts like these."
        )
    if null.p_value > 0.05:
        warnings.append("Luck alone tells these texts apart as well as the model does.")
    return warnings
