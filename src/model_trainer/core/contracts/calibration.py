"""How a detector's logits become probabilities, and probabilities verdicts: calibration.json and thresholds.json."""

from typing import Literal

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.detector import CalibrateSpec, DecisionName

Verdict = Literal["human", "uncertain", "ai"]


class ReliabilityBin(Contract):
    """Texts of nearly one probability, and how many of them were AI."""

    count: int
    mean_probability: float
    share_ai: float


class ProbabilityQuality(Contract):
    """How far probabilities can be believed."""

    nll: float
    brier: float
    brier_reliability: float
    """Murphy 1973, over equal-mass bins: lower is better."""
    brier_resolution: float
    """Higher is better."""
    brier_uncertainty: float
    ece: float
    """Expected calibration error over 15 bins of equal mass."""
    slope: float
    """Of a logistic fit of the labels on the logit of the probability; 1 is right."""
    intercept: float
    """0 is right."""


class FprRange(Contract):
    """What the share of human texts called AI will be, for a threshold that is the k-th smallest of n human scores:
    Beta(n + 1 - k, k)."""

    target: float
    num_human: int
    """Source documents with human texts: of each one text counts, since those of one document err together."""
    order: int
    """k, from 1."""
    expected: float
    low: float
    """2.5 %."""
    high: float
    """97.5 %."""


class Threshold(Contract):
    """One way to decide: AI when the probability is greater than `value`."""

    name: DecisionName
    value: float | None
    """None: validation has too few texts for it."""
    why_missing: str | None = None
    fpr_range: FprRange | None = None
    """Of a target false positive rate."""
    validation_fpr: float | None = None
    validation_tpr: float | None = None
    validation_precision: float | None = None
    validation_f1: float | None = None


class AbstainBand(Contract):
    """Between the two nothing is claimed."""

    low: float
    """At most this probability: human."""
    high: float
    """Greater than this: AI."""


class LengthBucket(Contract):
    """Thresholds of texts of about one length."""

    min_words: int
    max_words: int | None
    """Inclusive; None: no limit."""
    num_human: int
    num_ai: int
    thresholds: tuple[Threshold, ...]
    """Those that the bucket has enough texts for; others are as for all texts."""


class Thresholds(Contract):
    """thresholds.json."""

    schema_version: Literal[1] = 1
    decision: DecisionName
    """The one that verdicts use unless a request names another."""
    thresholds: tuple[Threshold, ...]
    band: AbstainBand | None
    why_no_band: str | None = None
    length_buckets: tuple[LengthBucket, ...]

    def named(self, name: DecisionName) -> Threshold:
        """The threshold called `name`; there is one of each."""
        return next(each for each in self.thresholds if each.name == name)


class Calibration(Contract):
    """calibration.json. probability = sigmoid(undo(logit) / temperature + bias), where undo() takes back what the loss did
    to the posterior."""

    schema_version: Literal[1] = 1
    asked: CalibrateSpec
    num_human: int
    num_ai: int
    fitted_on: Literal["validation", "external"] = "validation"
    logits_sha256: str
    """Of the logits it was fitted on."""
    focal_gamma: float
    """To be undone; 0 when it is not."""
    positive_weight: float
    """To be undone; 1 when it is not."""
    temperature: float
    temperature_at_bound: bool
    bias: float
    optimal_threshold: float
    """The value of the threshold that verdicts use."""
    before: ProbabilityQuality
    """sigmoid(logit) on the same texts."""
    after: ProbabilityQuality
    reliability: tuple[ReliabilityBin, ...]
    thresholds: Thresholds
    warnings: tuple[str, ...] = ()
