"""What an evaluation of a detector finds: eval_metrics.json."""

from typing import Literal

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.calibration import ProbabilityQuality, ReliabilityBin
from model_trainer.core.contracts.detector import DecisionName


class Interval(Contract):
    """95 % of the bootstrap's resamplings, by group."""

    low: float
    high: float


class Figure(Contract):
    """A number and how far luck may move it."""

    value: float
    interval: Interval | None = None
    """None when intervals were not asked for."""


class Ranking(Contract):
    """How well scores order texts, whatever the threshold."""

    roc_auc: Figure
    pr_auc: Figure
    tpr_at_fpr_1: Figure
    """Share of AI texts found where 1 % of these human texts are called AI."""
    tpr_at_fpr_5: Figure


class Decisions(Contract):
    """Verdicts at one threshold."""

    name: DecisionName
    threshold: float
    f1: Figure
    precision: Figure
    recall: Figure
    accuracy: Figure
    mcc: Figure
    fpr: Figure
    """The realised share of human texts called AI."""
    fpr_by_source: float | None = None
    """The same with one human text of each source document: what was promised is about documents."""
    promised_fpr: Interval | None = None
    """Where fpr_by_source was expected to fall, with the calibration's and this evaluation's numbers of documents."""
    kept_promise: bool | None = None


class Slice(Contract):
    """The same figures on a part of the texts."""

    column: str
    """domain, generator or length."""
    value: str
    num_human: int
    num_ai: int
    roc_auc: float | None
    """None where one class is missing (for a generator: against the human texts of the same groups, else of all)."""
    fpr: float | None
    tpr: float | None
    accuracy: float
    threshold: DecisionName


class Robustness(Contract):
    """Texts changed so that people read them alike."""

    attack: str
    num_texts: int
    roc_auc: float
    roc_auc_loss: float
    """Against the same texts unchanged."""
    tpr: float
    fpr: float
    flips: float
    """Share of verdicts that changed."""


class NullTest(Contract):
    """The same scores against shuffled labels: what luck alone reaches."""

    roc_auc_low: float
    roc_auc_high: float
    """95 % of permutations."""
    p_value: float


class DetectorComparison(Contract):
    """Against another run's logits of the very same texts; a regression is a loss that luck does not explain."""

    run_id: str
    metric: Literal["roc_auc"] = "roc_auc"
    theirs: float
    ours: float
    difference: float
    interval: Interval | None
    """Of the difference, paired by group; None on different texts."""
    regression: bool
    same_data: bool


class DetectorEvaluation(Contract):
    """eval_metrics.json."""

    schema_version: Literal[1] = 1
    run_id: str
    evaluation_id: str
    split: str
    """validation, test, train or external."""
    data_sha256: str
    text_sha256: str
    """Of the evaluated texts and labels."""
    num_human: int
    num_ai: int
    num_groups: int
    ranking: Ranking
    decisions: tuple[Decisions, ...]
    decision: DecisionName
    probabilities: ProbabilityQuality
    ece_interval: Interval | None
    """What a perfectly calibrated model of these probabilities would show: labels redrawn from them."""
    reliability: tuple[ReliabilityBin, ...]
    uncertain: float
    """Share of texts within the abstain band."""
    slices: tuple[Slice, ...]
    robustness: tuple[Robustness, ...]
    null_test: NullTest
    comparison: DetectorComparison | None
    by_length: Decisions | None = None
    """Verdicts as predictions make them, by the thresholds of each text's length; `decisions` are by those of all texts.
    None when no length has thresholds of its own."""
    warnings: tuple[str, ...] = ()
