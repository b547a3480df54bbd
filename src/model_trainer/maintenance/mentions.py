"""Which ids are mentioned by runs and models: what a run was ordered with, or a model was made with, is needed."""

import os
import re
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Protocol

from model_trainer.core.contracts.base import dump_json
from model_trainer.core.contracts.run import RunKind, RunPage, RunQuery

RUNS_A_PAGE = 200
_ULID = re.compile(rb"[0-7][0-9A-HJKMNP-TV-Z]{25}")


class ListedRuns(Protocol):
    """The part of core/ports/runs.py's RunStore that is needed here."""

    def list_runs(self, query: RunQuery) -> RunPage:
        """Newest first, by cursor."""
        ...


class Mentions:
    """Looks ids up in the records of all runs, in the store and on disk, and in the manifests of all models on disk.

    Files are read as bytes: one that is damaged, or of another version, still says which ids it is about.
    """

    def __init__(self, *, runs: ListedRuns, models: Path, kept_runs: Path) -> None:
        """Nothing is read yet.

        Args:
            runs: the store.
            models: holds a folder with a manifest.json for each model.
            kept_runs: holds a folder with a record.json for each run.
        """
        self._runs = runs
        self._models = models
        self._kept_runs = kept_runs

    def among(self, ids: Set[str], *, not_before: str = "") -> set[str]:
        """Those of `ids` that others mention, in runs and models whose own id is not smaller than `not_before`.

        Memory does not grow with runs and models. Raises STORE_UNAVAILABLE, and OSError for a file that is there and cannot be
        read: nobody knows what it needs.
        """
        found: set[str] = set()
        for owner, text in self._texts(not_before):
            found.update(each for each in _ids_in(text) if each in ids and each != owner)
        return found

    def _texts(self, not_before: str) -> Iterator[tuple[str, bytes]]:
        yield from _files(self._models, "manifest.json", not_before)
        yield from _files(self._kept_runs, "record.json", not_before)
        for kind in RunKind:
            yield from self._orders(kind, not_before)

    def _orders(self, kind: RunKind, not_before: str) -> Iterator[tuple[str, bytes]]:
        after: str | None = None
        while True:
            page = self._runs.list_runs(RunQuery(kind=kind, limit=RUNS_A_PAGE, after=after))
            for record in page.records:
                if record.run_id < not_before:
                    return
                yield record.run_id, dump_json(record.spec).encode("utf-8", "surrogatepass")
            if not page.has_more:
                return
            after = page.records[-1].run_id


def _ids_in(text: bytes) -> Iterator[str]:
    for match in _ULID.finditer(text):
        word: bytes = match[0]
        yield word.decode()


def _files(folder: Path, name: str, not_before: str) -> Iterator[tuple[str, bytes]]:
    """One file out of each folder in `folder`, with that folder's name; those that have gone meanwhile are passed over."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.name >= not_before:
                try:
                    yield entry.name, (folder / entry.name / name).read_bytes()
                except (FileNotFoundError, NotADirectoryError):
                    continue
