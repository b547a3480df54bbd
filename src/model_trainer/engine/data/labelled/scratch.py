"""The rows of labelled data while a job works on them: a SQLite file in a temporary folder, so that memory does not
grow with rows. Gone when it is closed."""

import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Self

from model_trainer.core.contracts.data_report import Duplicates
from model_trainer.core.contracts.detector import Label
from model_trainer.core.entry_hold import EntryHold
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX
from model_trainer.engine.data.labelled.traits import TRAITS, traits_of

_CACHE_KIB = 32 << 10
_SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA cache_size = -{_CACHE_KIB};
CREATE TABLE groups (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, root INTEGER NOT NULL);
CREATE TABLE rows (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL, file INTEGER NOT NULL, number INTEGER NOT NULL, value TEXT,
    label INTEGER, own_group INTEGER NOT NULL, root INTEGER, domain TEXT, generator TEXT, words INTEGER NOT NULL,
    copies INTEGER NOT NULL DEFAULT 1, split TEXT
);
CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE traits (id INTEGER PRIMARY KEY, {", ".join(f"{trait} REAL NOT NULL" for trait in TRAITS)});
"""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as it was read."""

    file: int
    number: int
    text: str
    value: str | None
    """Of the label column."""
    group: str | None
    domain: str | None
    generator: str | None
    split: str | None


class Scratch:
    """The rows of one preparation, in SQLite. `db` is open to the other files of this room."""

    def __init__(self, cache: Path, *, with_traits: bool) -> None:
        """An empty one in a folder of its own below `cache`, which the clean-up leaves alone while this is open."""
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=cache))
        self._with_traits = with_traits
        self._hold = EntryHold.of(folder)
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.db = sqlite3.connect(folder / "rows.sqlite3", isolation_level=None)
        self.db.executescript(_SCHEMA)
        self.db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes everything; a second time does nothing."""
        self.db.close()
        self._remove()

    def add(self, row: RawRow) -> None:
        """Puts a row in. A row without a group is a group of its own, shared with rows of the same text."""
        key = plain_key(row.text)
        group = f"text:{key.hex()}" if row.group is None else f"group:{row.group}"
        row_id = self.db.execute(
            "INSERT INTO rows (key, file, number, value, own_group, domain, generator, words, split) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                row.file,
                row.number,
                row.value,
                self._group(group),
                row.domain,
                row.generator,
                len(row.text.split()),
                row.split,
            ),
        ).lastrowid
        self.db.execute("INSERT INTO texts VALUES (?, ?)", (row_id, row.text))
        if self._with_traits:
            places = ", ".join("?" * (1 + len(TRAITS)))
            self.db.execute(f"INSERT INTO traits VALUES ({places})", (row_id, *traits_of(row.text)))  # noqa: S608 - question marks

    def set_labels(self, *, after: int, labels: Sequence[tuple[str | None, Label]]) -> None:
        """What the label values of the rows after this id mean; None is the value of rows without one."""
        for value, label in labels:
            self.db.execute("UPDATE rows SET label = ? WHERE id > ? AND value IS ?", (label, after, value))

    def last_id(self) -> int:
        """Of the row that came last; 0 when there is none."""
        return self.number("SELECT COALESCE(MAX(id), 0) FROM rows")

    def number(self, query: str, values: Sequence[str | int] = ()) -> int:
        """The one number that a query gives."""
        found: Iterator[tuple[int]] = self.db.execute(query, values)
        return next(found)[0]

    def leave_out_duplicates(self) -> Duplicates:
        """Of rows with the same text (case and white space aside) the first stays; none does where labels differ.
        Groups that share a text become one."""
        self.db.execute("CREATE INDEX rows_by_key ON rows (key)")
        self.db.execute(
            "CREATE TABLE runs AS SELECT key, MIN(id) AS first, COUNT(*) AS copies, COUNT(DISTINCT label) AS labels "
            "FROM rows GROUP BY key HAVING COUNT(*) > 1"
        )
        shared: Iterator[tuple[int, int]] = self.db.execute(
            "SELECT f.own_group, r.own_group FROM runs JOIN rows r USING (key) JOIN rows f ON f.id = runs.first "
            "WHERE f.own_group != r.own_group"
        )
        joined = sum(self._unite(first, other) for first, other in shared)
        duplicates = Duplicates(
            same_label=self.number("SELECT COALESCE(SUM(copies - 1), 0) FROM runs WHERE labels = 1"),
            conflicting=self.number("SELECT COALESCE(SUM(copies), 0) FROM runs WHERE labels = 2"),
            joined_groups=joined,
        )
        self._settle_roots()
        self.db.execute("UPDATE rows SET copies = runs.copies FROM runs WHERE rows.id = runs.first")
        self.db.execute(
            "DELETE FROM rows WHERE id IN "
            "(SELECT r.id FROM rows r JOIN runs USING (key) WHERE labels = 2 OR r.id != first)"
        )
        self.db.execute("UPDATE rows SET root = (SELECT root FROM groups WHERE groups.id = own_group)")
        return duplicates

    def settle(self) -> None:
        """After the last change: makes what is asked often quick."""
        self.db.execute("CREATE INDEX rows_by_split ON rows (split, label, words)")
        self.db.execute("COMMIT")

    def _group(self, key: str) -> int:
        self.db.execute("INSERT OR IGNORE INTO groups (key, root) VALUES (?, 0)", (key,))
        return self.number("SELECT id FROM groups WHERE key = ?", (key,))

    def _unite(self, one: int, other: int) -> bool:
        """Whether they were two. The root is the one of the smaller key: no order of files or rows changes it."""
        (smaller, root), (larger, joined) = sorted((self._root(one), self._root(other)))
        if smaller == larger:
            return False
        self.db.execute("UPDATE groups SET root = ? WHERE id = ?", (root, joined))
        return True

    def _root(self, group: int) -> tuple[str, int]:
        """Key and id; the way to it is shortened for the next time."""
        place = group
        while True:
            found: Iterator[tuple[int, str]] = self.db.execute(
                "SELECT root, key FROM groups WHERE id = ?", (place,)
            )
            up, key = next(found)
            if up == 0:
                break
            place = up
        self.db.execute("UPDATE groups SET root = ? WHERE id = ? AND id != ?", (place, group, place))
        return key, place

    def _settle_roots(self) -> None:
        """Every group points at its root, the root at itself; each round halves the longest way."""
        self.db.execute("UPDATE groups SET root = id WHERE root = 0")
        shorten = "UPDATE groups SET root = up.root FROM groups up WHERE up.id = groups.root AND up.root != groups.root"
        while self.db.execute(shorten).rowcount:
            pass


def plain_key(text: str) -> bytes:
    """Equal for texts that differ in case and white space alone."""
    return blake2b(" ".join(text.casefold().split()).encode(), digest_size=16).digest()


@contextmanager
def scratch_errors() -> Iterator[None]:
    """Inside, a disk that is full raises DISK_FULL."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        raise AppError(
            ErrorCode.DISK_FULL,
            "The disk is full: labelled data is copied into the cache while it is worked on. Free some space, or point "
            "APP__ARTIFACTS_ROOT to a larger disk.",
        ) from error
