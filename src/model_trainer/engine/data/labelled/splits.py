"""Deals labelled rows to train, validation and test, whole source documents at a time."""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.engine.data.labelled.faults import bad_field, shown
from model_trainer.engine.data.labelled.polarity import NAMES

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
SPLIT_VALUES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that never part."""

    root: int
    num_rows: int
    has_human: bool
    has_ai: bool


def deal_by_groups(
    db: sqlite3.Connection, *, seed: int, holdout_fraction: float, test_fraction: float
) -> None:
    """Sets every row's split, by its group and the seed alone. Groups of human texts, of AI texts and of both are dealt
    apart, so that fractions and class balance are nearly exact in every split.

    Raises DATA_TOO_SMALL where some split cannot have both classes.
    """
    _place_groups(db, seed)
    fractions: dict[SplitName, float] = {"test": test_fraction, "validation": holdout_fraction}
    wanted = [split for split, fraction in fractions.items() if fraction > 0]
    _require_enough(db, num_splits=1 + len(wanted))
    for classes in ((1, 0), (0, 1), (1, 1)):
        _deal(db, classes, {split: fractions[split] for split in wanted})
    for split in wanted:
        for label in (0, 1):
            _lend(db, split, label)
    db.execute("UPDATE rows SET split = (SELECT split FROM places WHERE places.root = rows.root)")
    require_both_classes(db, ("train", *wanted))


def keep_named_splits(db: sqlite3.Connection, *, column: str) -> tuple[SplitName, ...]:
    """Checks splits that a column of the data names; returns those that have rows. Raises CONFIG_INVALID when a group
    stands in two of them, or when there is none to train on or to choose by."""
    torn: Iterator[tuple[str, int]] = db.execute(
        "SELECT SUBSTR(groups.key, 7), COUNT(DISTINCT split) AS splits FROM rows JOIN groups ON groups.id = own_group "
        "WHERE groups.key LIKE 'group:%' GROUP BY own_group HAVING splits > 1 ORDER BY own_group"
    )
    examples = [shown(key) for key, _ in torn]
    if examples:
        raise bad_field(
            "/columns/split_col",
            f"{len(examples):,} source documents stand in more than one split of column {column!r} (for example "
            f"{', '.join(examples[:_EXAMPLES])}): what is learnt from one part would be tested on the other; mend the column, "
            "or leave split_col out and let groups be dealt",
        )
    present = [split for split in SPLITS if _number(db, "SELECT COUNT(*) FROM rows WHERE split = ?", split)]
    for split in SPLITS[:2]:
        if split not in present:
            raise bad_field(
                "/columns/split_col",
                f"column {column!r} puts no row into {split}; training needs train and validation",
            )
    require_both_classes(db, present)
    return tuple(present)


def require_both_classes(db: sqlite3.Connection, splits: Sequence[SplitName]) -> None:
    """Raises DATA_TOO_SMALL for a split without human texts or without AI texts."""
    for split in splits:
        for label, name in NAMES.items():
            if not _number(db, "SELECT COUNT(*) FROM rows WHERE split = ? AND label = ?", split, label):
                raise _too_small(f"there is no {name} text in {split}")


def _place_groups(db: sqlite3.Connection, seed: int) -> None:
    db.execute(
        "CREATE TABLE places (root INTEGER PRIMARY KEY, place BLOB NOT NULL, size INTEGER NOT NULL, "
        "human INTEGER NOT NULL, ai INTEGER NOT NULL, split TEXT NOT NULL)"
    )
    groups: Iterator[tuple[int, str, int, int]] = db.execute(
        "SELECT root, (SELECT key FROM groups WHERE groups.id = rows.root), COUNT(*), SUM(label) FROM rows GROUP BY root"
    )
    for root, key, size, num_ai in groups:
        place = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
        db.execute(
            "INSERT INTO places VALUES (?, ?, ?, ?, ?, 'train')",
            (root, place, size, num_ai < size, num_ai > 0),
        )


def _require_enough(db: sqlite3.Connection, *, num_splits: int) -> None:
    for label, name in NAMES.items():
        of_class = _number(db, _HAS[label])
        if of_class == 0:
            other = NAMES[0] if label else NAMES[1]
            raise _too_small(f"all texts are {other}, and a detector learns from both: add {name} texts")
        if of_class < num_splits:
            raise _too_small(
                f"only {of_class} source documents have {name} texts, and {num_splits} splits need one each"
            )


def _deal(db: sqlite3.Connection, classes: tuple[int, int], fractions: Mapping[SplitName, float]) -> None:
    """Each split takes groups, in their seeded order, for as long as that brings it nearer to its share."""
    total = _number(db, "SELECT COALESCE(SUM(size), 0) FROM places WHERE human = ? AND ai = ?", *classes)
    wishes = {split: fraction * total for split, fraction in fractions.items()}
    groups: Iterator[tuple[int, int]] = db.execute(
        "SELECT root, size FROM places WHERE human = ? AND ai = ? ORDER BY place", classes
    )
    for root, size in groups:
        for split, wish in wishes.items():
            if size / 2 <= wish:
                wishes[split] = wish - size
                db.execute("UPDATE places SET split = ? WHERE root = ?", (split, root))
                break


def _lend(db: sqlite3.Connection, split: SplitName, label: int) -> None:
    """Gives a split that has no text of a class the first group of train that has one."""
    if not _number(db, _HAS_IN_SPLIT[label], split):
        found: Iterator[tuple[int]] = db.execute(_LEND[label])
        db.execute("UPDATE places SET split = ? WHERE root = ?", (split, next(found)[0]))


_HAS = {0: "SELECT COUNT(*) FROM places WHERE human", 1: "SELECT COUNT(*) FROM places WHERE ai"}
_HAS_IN_SPLIT = {label: f"{query} AND split = ?" for label, query in _HAS.items()}
_LEND = {
    0: "SELECT root FROM places WHERE split = 'train' AND human ORDER BY place LIMIT 1",
    1: "SELECT root FROM places WHERE split = 'train' AND ai ORDER BY place LIMIT 1",
}


def _number(db: sqlite3.Connection, query: str, *values: str | int) -> int:
    found: Iterator[tuple[int]] = db.execute(query, values)
    return next(found)[0]


def _too_small(why: str) -> AppError:
    message = (
        f"Not enough labelled data: {why}. Add data, or ask for smaller holdout_fraction and test_fraction."
    )
    return AppError(ErrorCode.DATA_TOO_SMALL, message, faults=[FieldFault("/data_paths", why)])
