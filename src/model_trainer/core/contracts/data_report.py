"""data_report.json: what labelled data turned out to be."""

from typing import Literal

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.corpus import SplitName


class ColumnChoice(Contract):
    """Which column was taken for what, and why."""

    role: Literal["text", "label", "group", "domain", "generator", "split"]
    column: str | None
    evidence: str


class LabelMeaning(Contract):
    """What one value of the label column means, and how that is known."""

    value: str
    label: Literal[0, 1]
    evidence: str


class SourceFile(Contract):
    """One file, as it was read."""

    path: str
    num_bytes: int
    sha256: str
    num_rows: int
    columns: tuple[ColumnChoice, ...]
    labels: tuple[LabelMeaning, ...]


class LengthStats(Contract):
    """Words of a text."""

    mean: float
    p5: float
    p50: float
    p95: float
    max: int


class SplitFigures(Contract):
    """One split."""

    num_rows: int
    num_groups: int
    num_human: int
    num_ai: int
    human_words: LengthStats | None
    ai_words: LengthStats | None


class ShortcutFinding(Contract):
    """How well one trivial feature alone tells the classes apart, on the training split."""

    feature: str
    roc_auc: float
    """Of the better direction."""
    direction: Literal["higher_is_ai", "lower_is_ai"]
    is_shortcut: bool
    message: str


class Duplicates(Contract):
    """Texts that occur more than once (case and whitespace aside)."""

    same_label: int
    """Later rows left out."""
    conflicting: int
    """Rows left out because the same text has both labels."""
    joined_groups: int
    """Source documents that share a text, and so a split."""


class DataReport(Contract):
    """data_report.json."""

    schema_version: Literal[1] = 1
    data_sha256: str
    """Of files, columns, labels and split."""
    text_sha256: dict[SplitName, str]
    files: tuple[SourceFile, ...]
    num_rows: int
    """Read, before duplicates were left out."""
    num_empty: int
    duplicates: Duplicates
    group_evidence: str
    splits: dict[SplitName, SplitFigures]
    domains: dict[str, int]
    """Rows by domain; the hundred largest."""
    generators: dict[str, int]
    audit: tuple[ShortcutFinding, ...]
    audit_blocks: bool
    """Whether `audit: block` would refuse to train."""
    warnings: tuple[str, ...]
