"""Texts judged by a detector: what is asked and what is answered."""

from typing import Annotated, Literal

from pydantic import Field

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.calibration import Verdict
from model_trainer.core.contracts.detector import DecisionName

MOST_TEXTS = 256
LONGEST_TEXT = 1_000_000


class PredictSpec(Contract):
    """Texts to judge."""

    texts: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)], ...],
        Field(min_length=1, max_length=MOST_TEXTS),
    ]
    decision: DecisionName | None = None
    """Which threshold decides; left out: the calibration's."""


class WindowScore(Contract):
    """One window of a text."""

    start: int
    """First character, in the text as it was given once whitespace and look-alikes are dealt with."""
    end: int
    logit: float
    probability: float


class Prediction(Contract):
    """One judged text. Not evidence against a person."""

    probability: float
    """That it is AI's, calibrated."""
    verdict: Literal["human", "ai"]
    """By the threshold."""
    band: Verdict
    """`uncertain` inside the abstain band."""
    threshold: float
    threshold_name: DecisionName
    length_bucket: str | None
    """The bucket whose threshold was used, as words: `60-119`; None: the one for all texts."""
    logit: float
    num_words: int
    num_tokens: int
    windows: tuple[WindowScore, ...]
    warnings: tuple[str, ...] = ()
    """Such as: too short to be judged well."""


class Predictions(Contract):
    """The answer, text by text."""

    run_id: str
    predictions: tuple[Prediction, ...]


class BundleFile(Contract):
    """One file of a bundle."""

    path: str
    num_bytes: int
    sha256: str


class BundleManifest(Contract):
    """manifest.json of a runtime bundle."""

    schema_version: Literal[1] = 1
    run_id: str
    model_family: str
    created_by: str
    """model-trainer and its version."""
    quantized: bool
    input_names: tuple[str, str] = ("input_ids", "attention_mask")
    output_name: str = "logits"
    length: int
    """Of the WindowPlan, which see; the following too."""
    stride: int
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad_id: int
    collapse_whitespace: bool
    normalise_unicode: bool
    files: tuple[BundleFile, ...]
    """All but this one, sorted by path."""
