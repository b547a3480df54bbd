"""data_report.json, counted from the rows that are left."""

import hashlib
import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.contracts.data_report import (
    DataReport,
    Duplicates,
    LengthStats,
    ShortcutFinding,
    SourceFile,
    SplitFigures,
)

_LARGEST = 100
_SHORT_WORDS = 60
"""Errors are four to five times denser below (DeBERTa-ConPara's model card)."""
_MUCH = 0.1


@dataclass(frozen=True, slots=True)
class Findings:
    """What preparation found out on the way."""

    files: tuple[SourceFile, ...]
    num_empty: int
    duplicates: Duplicates
    group_evidence: str
    audit: tuple[ShortcutFinding, ...]
    warnings: tuple[str, ...]


def build_report(db: sqlite3.Connection, found: Findings, *, splits: Sequence[SplitName]) -> DataReport:
    """The report on settled rows."""
    figures = {split: _figures(db, split) for split in splits}
    text_sha256 = {split: _text_sha256(db, split) for split in splits}
    num_rows = sum(file.num_rows for file in found.files)
    return DataReport(
        data_sha256=_data_sha256(found.files, text_sha256),
        text_sha256=text_sha256,
        files=found.files,
        num_rows=num_rows,
        num_empty=found.num_empty,
        duplicates=found.duplicates,
        group_evidence=found.group_evidence,
        splits=figures,
        domains=_largest(db, "domain"),
        generators=_largest(db, "generator"),
        audit=found.audit,
        audit_blocks=any(finding.is_shortcut for finding in found.audit),
        warnings=(*found.warnings, *_warnings(db, found, num_rows)),
    )


def _figures(db: sqlite3.Connection, split: SplitName) -> SplitFigures:
    counted: Iterator[tuple[int, int, int]] = db.execute(
        "SELECT COUNT(*), COUNT(DISTINCT root), COALESCE(SUM(label), 0) FROM rows WHERE split = ?", (split,)
    )
    num_rows, num_groups, num_ai = next(counted)
    return SplitFigures(
        num_rows=num_rows,
        num_groups=num_groups,
        num_human=num_rows - num_ai,
        num_ai=num_ai,
        human_words=_lengths(db, split, 0, num_rows - num_ai),
        ai_words=_lengths(db, split, 1, num_ai),
    )


def _lengths(db: sqlite3.Connection, split: SplitName, label: int, number: int) -> LengthStats | None:
    if number == 0:
        return None
    totals: Iterator[tuple[float, int]] = db.execute(
        "SELECT AVG(words), MAX(words) FROM rows WHERE split = ? AND label = ?", (split, label)
    )
    mean, longest = next(totals)
    p5, p50, p95 = (
        _percentile(db, split, label, math.ceil(number * share) - 1) for share in (0.05, 0.5, 0.95)
    )
    return LengthStats(mean=mean, p5=p5, p50=p50, p95=p95, max=longest)


def _percentile(db: sqlite3.Connection, split: SplitName, label: int, place: int) -> float:
    """Of the words, by nearest rank."""
    found: Iterator[tuple[int]] = db.execute(
        "SELECT words FROM rows WHERE split = ? AND label = ? ORDER BY words LIMIT 1 OFFSET ?",
        (split, label, place),
    )
    return float(next(found)[0])


def _largest(db: sqlite3.Connection, column: str) -> dict[str, int]:
    counted: Iterator[tuple[str, int]] = db.execute(
        f"SELECT {column}, COUNT(*) AS number FROM rows WHERE {column} IS NOT NULL "  # noqa: S608 - one of our own names
        f"GROUP BY {column} ORDER BY number DESC, {column} LIMIT {_LARGEST}"
    )
    return dict(counted)


def _text_sha256(db: sqlite3.Connection, split: SplitName) -> str:
    """Of texts and labels in order, each text with its length before it."""
    digest = hashlib.sha256()
    rows: Iterator[tuple[str, int]] = db.execute(
        "SELECT text, label FROM rows JOIN texts USING (id) WHERE split = ? ORDER BY id", (split,)
    )
    for text, label in rows:
        data = text.encode()
        digest.update(f"{label} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def _data_sha256(files: Sequence[SourceFile], text_sha256: dict[SplitName, str]) -> str:
    """Of what the files hold and how it was understood; where they lie does not count."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.sha256}\n".encode())
        for said in (*file.columns, *file.labels):
            digest.update(f"{said.model_dump_json()}\n".encode())
    for split, sha256 in text_sha256.items():
        digest.update(f"{split} {sha256}\n".encode())
    return digest.hexdigest()


def _warnings(db: sqlite3.Connection, found: Findings, num_rows: int) -> Iterator[str]:
    left_out = found.duplicates.same_label + found.duplicates.conflicting
    if left_out > _MUCH * num_rows:
        yield f"{left_out:,} of {num_rows:,} rows were left out as duplicates."
    if found.duplicates.conflicting:
        yield f"{found.duplicates.conflicting:,} rows were left out because the same text is labelled human and AI."
    shares: Iterator[tuple[float]] = db.execute("SELECT AVG(words < ?) FROM rows", (_SHORT_WORDS,))
    short = next(shares)[0]
    if short > _MUCH:
        yield f"{short:.0%} of the texts have fewer than {_SHORT_WORDS} words; verdicts on those are much less reliable."
    balance: Iterator[tuple[float]] = db.execute("SELECT AVG(label) FROM rows")
    num_ai = next(balance)[0]
    if not _MUCH <= num_ai <= 1 - _MUCH:
        yield f"{num_ai:.1%} of the texts are AI: the classes are far from balanced."
    for finding in found.audit:
        if finding.is_shortcut:
            yield f"Shortcut: {finding.message}"
