"""Removes tokenizers that nothing was made with, once they are old enough.

A training that is being ordered at the same moment wins, or is told that the tokenizer has gone: never both.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from ulid import ULID

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import RunKind, RunQuery, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.core.ports.store import ArtifactStore, References
from model_trainer.core.stored_artifact import things_stored_at
from model_trainer.maintenance.leftovers import delete_whole
from model_trainer.maintenance.mentions import RUNS_A_PAGE, Mentions
from model_trainer.maintenance.telling import Removal, tell
from model_trainer.orchestrators.needs import thing_of_file, thing_of_tokenizer, things_needed

DAY_SECONDS = 86_400.0
TOGETHER = 10_000
"""Tokenizers that are looked up in one pass over all runs."""
AT_ONCE = 50
"""Tokenizers that nobody can refer to while they are looked up again and removed."""
REMOVAL_SECONDS = 300.0
"""Longer than that takes; should this process die meanwhile, they can be referred to again after it."""
SLACK_SECONDS = 3600.0
"""Clocks of machines that make ids differ by less, and what is ordered is recorded sooner."""


class TokenizerCleaner:
    """Removes unused tokenizers: their folder, what is kept of their run on disk, and their run."""

    def __init__(
        self,
        *,
        runs: RunStore,
        references: References,
        artifacts: ArtifactTree,
        store: ArtifactStore,
        mentions: Mentions,
        kept_runs: Path,
        min_unused_days: float,
        dry_run: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is removed yet.

        Args:
            runs: who knows all tokenizers.
            references: what runs need that are being ordered.
            artifacts: where tokenizers lie.
            store: what a tokenizer's stored copy consists of is asked there; the copy stays, and may be deleted then.
            mentions: what runs and models were made with.
            kept_runs: holds a folder for each run.
            min_unused_days: younger ones stay.
            dry_run: only tell what would be removed.
            now: seconds since 1970.
        """
        self._runs = runs
        self._references = references
        self._artifacts = artifacts
        self._store = store
        self._mentions = mentions
        self._kept_runs = kept_runs
        self._min_unused_days = min_unused_days
        self._dry_run = dry_run
        self._now = now

    def clean(self) -> int:
        """Removes what is due; how many went. Raises STORE_UNAVAILABLE."""
        return sum(removal.fate == "removed" for removal in self.removals())

    def removals(self) -> Iterator[Removal]:
        """The same, one by one. Memory does not grow with the number of runs. Raises STORE_UNAVAILABLE."""
        old = self._old()
        while together := list(islice(old, TOGETHER)):
            # What is ordered from here on is looked for again, when nobody can refer to them any more.
            since = str(ULID.from_timestamp(self._now() - SLACK_SECONDS))
            try:
                mentioned = self._mentions.among(set(together))
                unused = [each for each in together if each not in mentioned]
                for first in range(0, len(unused), AT_ONCE):
                    yield from self._end(unused[first : first + AT_ONCE], since=since)
            except OSError as error:
                place: object = error.filename
                yield tell(Removal(path=Path(str(place)), fate="failed", detail=error.strerror or ""))

    def _old(self) -> Iterator[str]:
        latest_ms = (self._now() - self._min_unused_days * DAY_SECONDS) * 1000
        after: str | None = None
        while True:
            query = RunQuery(
                kind=RunKind.TOKENIZER, status=RunStatus.COMPLETED, limit=RUNS_A_PAGE, after=after
            )
            page = self._runs.list_runs(query)
            for record in page.records:
                if record.finished_at_ms is not None and record.finished_at_ms <= latest_ms:
                    yield record.run_id
            if not page.has_more:
                return
            after = page.records[-1].run_id

    def _end(self, tokenizer_ids: Sequence[str], *, since: str) -> Iterator[Removal]:
        if self._dry_run:
            for tokenizer_id in tokenizer_ids:
                if not self._references.referred_by(thing_of_tokenizer(tokenizer_id), limit=1):
                    yield tell(self._measured(tokenizer_id))
            return
        ours: list[str] = []
        owner = new_ulid()
        try:
            ours.extend(each for each in tokenizer_ids if self._is_ours(each, owner=owner))
            mentioned = self._mentions.among(set(ours), not_before=since)
            for tokenizer_id in ours:
                if tokenizer_id not in mentioned:
                    yield from self._removed(tokenizer_id)
        finally:
            for tokenizer_id in ours:
                self._references.end_removal(thing_of_tokenizer(tokenizer_id), owner=owner)

    def _is_ours(self, tokenizer_id: str, *, owner: str) -> bool:
        """Whether nobody refers to it, nor can from now on, nor another clean-up is at it. Runs whose submitter died on the
        way do not count."""
        thing = thing_of_tokenizer(tokenizer_id)
        try:
            while run_ids := self._references.begin_removal(thing, owner=owner, seconds=REMOVAL_SECONDS):
                unborn = [run_id for run_id in run_ids if self._is_unborn(run_id)]
                for run_id in unborn:
                    self._references.release(run_id, [thing])
                if not unborn:
                    return False
        except AppError as error:
            if error.code is not ErrorCode.CONFLICT:
                raise
            return False
        return True

    def _is_unborn(self, run_id: str) -> bool:
        is_old = self._now() - ULID.from_str(run_id).timestamp > SLACK_SECONDS
        return is_old and self._record(run_id) is None

    def _record(self, run_id: str) -> RunRecord | None:
        """None for a run that there is not, or not any more."""
        try:
            return self._runs.get(run_id)
        except AppError as error:
            if error.code is not ErrorCode.RUN_NOT_FOUND:
                raise
            return None

    def _removed(self, tokenizer_id: str) -> Iterator[Removal]:
        """The run goes last: whatever stops this in between, the next round finds it and goes on."""
        record = self._record(tokenizer_id)
        if record is None:
            return  # another clean-up was faster
        measured, things = self._measured(tokenizer_id), self._things(record)
        try:
            if not self._take_away(tokenizer_id):
                return  # somebody reads it
            self._references.release(tokenizer_id, things)
            self._runs.forget(tokenizer_id)
            # Whoever asked for it in between has had it brought back from the store.
            self._take_away(tokenizer_id)
        except OSError as error:
            detail = error.strerror or ""
            yield tell(Removal(path=measured.path, fate="failed", run_id=tokenizer_id, detail=detail))
            return
        yield tell(
            Removal(
                path=measured.path,
                fate="removed",
                num_files=measured.num_files,
                num_bytes=measured.num_bytes,
                run_id=tokenizer_id,
            )
        )

    def _take_away(self, tokenizer_id: str) -> bool:
        """What is of it on this machine; False, and nothing is done, while somebody uses it."""
        is_here = self._artifacts.here("tokenizers", tokenizer_id) is not None
        if is_here and not self._artifacts.remove("tokenizers", tokenizer_id, if_still=lambda _: True):
            return False
        if (self._kept_runs / tokenizer_id).is_dir():
            delete_whole(self._kept_runs / tokenizer_id)
        return True

    def _measured(self, tokenizer_id: str) -> Removal:
        """What is on this machine of a tokenizer, as something that is due."""
        folder = self._artifacts.here("tokenizers", tokenizer_id)
        sizes = [] if folder is None else list(_sizes(folder))
        return Removal(
            path=folder or self._kept_runs / tokenizer_id,
            fate="due",
            num_files=len(sizes),
            num_bytes=sum(sizes),
            run_id=tokenizer_id,
        )

    def _things(self, record: RunRecord) -> tuple[str, ...]:
        """What the run is said to need: files of its request, and those that the store has of its artifact."""
        needed = things_needed(record.spec)
        file_id = record.artifact_file_id
        if file_id is None:
            return needed
        try:
            stored = things_stored_at(self._store, file_id, kind="tokenizers", item_id=record.run_id)
        except AppError as error:
            if error.code not in (ErrorCode.FILE_NOT_FOUND, ErrorCode.ARTIFACT_CORRUPT):
                raise
            stored = (thing_of_file(file_id),)
        return (*needed, *stored)


def _sizes(folder: Path) -> Iterator[int]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sizes(folder / entry.name)
            else:
                yield entry.stat(follow_symlinks=False).st_size
