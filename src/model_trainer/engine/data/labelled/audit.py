"""Shortcut audit: does a trivial trait of the training texts tell human from AI?"""

import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from model_trainer.core.contracts.data_report import ShortcutFinding
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.engine.data.labelled.traits import COUNTS, TRAIT_NAMES, TRAITS

SHORTCUT_AUROC = 0.7
"""A trait is a shortcut when the lower end of its 95 % interval is above this. Newlines alone reach 0.770 on gpt-4's
texts in Fast-DetectGPT's data (0.74 at the lower end), which must be called one; lengths of honest data stay below."""
_WHITESPACE = frozenset({"newlines", "tabs", "double_spaces", "edge_whitespace"})


@dataclass(frozen=True, slots=True)
class _Counts:
    human: int
    ai: int


def audit_shortcuts(db: sqlite3.Connection) -> tuple[ShortcutFinding, ...]:
    """One finding a trait, the strongest first. One sorted scan each, on disk: memory does not grow with rows."""
    groups = _Counts(human=_num_groups(db, 0), ai=_num_groups(db, 1))
    findings = [_finding(db, trait, groups) for trait in (*COUNTS, *TRAITS)]
    return tuple(sorted(findings, key=_strength, reverse=True))


def shortcuts_refused(findings: tuple[ShortcutFinding, ...]) -> AppError:
    """Why `audit: block` does not train on this data."""
    found = " ".join(finding.message for finding in findings if finding.is_shortcut)
    way_out = (
        "Mend the data (collapse_whitespace takes white space away from training and judging alike; texts of like length "
        "in both classes take length away), or ask for audit: warn."
    )
    return AppError(
        ErrorCode.CONFIG_INVALID,
        f"A trivial trait separates human from AI texts, and a detector would learn it instead of reading. {found} {way_out}",
        faults=[FieldFault("/audit", f"{found} {way_out}")],
    )


def _finding(db: sqlite3.Connection, trait: str, groups: _Counts) -> ShortcutFinding:
    auroc = _auroc(db, trait)
    better = max(auroc, 1 - auroc)
    higher = auroc >= 0.5
    lower_end = better - 1.96 * _standard_error(better, groups)
    is_shortcut = lower_end > SHORTCUT_AUROC
    message = (
        f"The {TRAIT_NAMES[trait]} alone: AUROC {better:.3f} (95 % interval from {lower_end:.3f}), "
        f"{'higher' if higher else 'lower'} is AI."
    )
    if is_shortcut and trait in _WHITESPACE:
        message += " collapse_whitespace takes this away."
    return ShortcutFinding(
        feature=trait,
        roc_auc=better,
        direction="higher_is_ai" if higher else "lower_is_ai",
        is_shortcut=is_shortcut,
        message=message,
    )


def _strength(finding: ShortcutFinding) -> float:
    return finding.roc_auc


def _auroc(db: sqlite3.Connection, trait: str) -> float:
    """Mann-Whitney's U over the pairs, ties counted half; both classes are there."""
    values: Iterator[tuple[int, int]] = db.execute(
        f"SELECT COUNT(*), SUM(label) FROM rows JOIN traits USING (id) WHERE split = 'train' GROUP BY {trait} ORDER BY {trait}"  # noqa: S608 - one of our own names
    )
    above, human_below, num_ai = 0.0, 0, 0
    for number, ai in values:
        human = number - ai
        above += ai * (human_below + human / 2)
        human_below += human
        num_ai += ai
    return above / (human_below * num_ai)


def _standard_error(auroc: float, groups: _Counts) -> float:
    """Hanley and McNeil 1982, with source documents for cases: rows of one document are no independent witnesses."""
    q1 = auroc / (2 - auroc)
    q2 = 2 * auroc * auroc / (1 + auroc)
    variance = auroc * (1 - auroc) + (groups.ai - 1) * (q1 - auroc**2) + (groups.human - 1) * (q2 - auroc**2)
    return math.sqrt(max(0.0, variance) / (groups.ai * groups.human))


def _num_groups(db: sqlite3.Connection, label: int) -> int:
    found: Iterator[tuple[int]] = db.execute(
        "SELECT COUNT(DISTINCT root) FROM rows WHERE split = 'train' AND label = ?", (label,)
    )
    return next(found)[0]
