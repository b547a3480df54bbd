"""Redis from the disk: brings every run back that the store has lost. Safe beside services that are at work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.storage import ArtifactTree, KeptRecord
from model_trainer.maintenance.catching_up import caught_up
from model_trainer.maintenance.folders import folder_of
from model_trainer.maintenance.records import RecordKeeper
from model_trainer.worker.kept_events import completed, read_events

log = get_logger(__name__)

Fate = Literal["restored", "known", "skipped"]


@dataclass(frozen=True, slots=True)
class RebuiltRun:
    """What became of one record on disk."""

    run_id: str
    fate: Fate
    """restored: the store had lost it; known: the store has it; skipped: it stays away."""
    status: str
    """Of the run; empty when its record cannot be read."""
    detail: str
    """Why it was skipped, or what is worth knowing."""


class ForgetfulRuns(Protocol):
    """The part of core/ports/runs.py's RunStore that is needed here."""

    def get(self, run_id: str) -> RunRecord:
        """The record."""
        ...

    def restore(self, record: RunRecord, events: tuple[StoredEvent, ...]) -> bool:
        """Brings a run back that the store has lost; False when it has it."""
        ...


class KnownToTheStore(Protocol):
    """The part of maintenance/stored_side.py that is needed here; raises AppError for what cannot be known now."""

    def refer(self, record: RunRecord) -> None:
        """Says again what a run needs of the store."""
        ...

    def events(self, record: RunRecord) -> tuple[StoredEvent, ...]:
        """The events of a run whose folder is not here."""
        ...


class Rebuild:
    """One pass over the records on disk."""

    def __init__(
        self,
        *,
        runs: ForgetfulRuns,
        artifacts: ArtifactTree,
        keep: RecordKeeper,
        close_account: Callable[[str], object],
        stored: KnownToTheStore,
        adopt: bool,
    ) -> None:
        """Nothing is read yet.

        Args:
            runs: what lost them.
            artifacts: where their records lie.
            keep: brings records on disk up to date.
            close_account: brings an end to disk that is known from events alone.
            stored: what the store of artifacts knows of a run.
            adopt: whether to take records that another installation wrote.
        """
        self._runs = runs
        self._artifacts = artifacts
        self._keep = keep
        self._close_account = close_account
        self._stored = stored
        self._adopt = adopt

    def runs(self) -> Iterator[RebuiltRun]:
        """Brings them back one by one, oldest first; raises STORE_UNAVAILABLE, and may be done again from the start."""
        ours = self._artifacts.installation_id()
        for kept in self._artifacts.kept_records():
            rebuilt = self._bring_back(kept, ours)
            log.info("run_rebuilt", run_id=kept.run_id, status=rebuilt.fate, detail=rebuilt.detail)
            yield rebuilt

    def _bring_back(self, kept: KeptRecord, ours: str) -> RebuiltRun:
        record = kept.record
        if record is None:
            return RebuiltRun(kept.run_id, "skipped", "", kept.problem or "there is no record")
        notes: list[str] = []
        if kept.installation_id != ours:
            whose = f"installation {kept.installation_id or 'unknown'} wrote it"
            if not self._adopt:
                reason = f"{whose}, not this one; --adopt takes it all the same"
                return RebuiltRun(kept.run_id, "skipped", record.status.value, reason)
            notes.append(f"adopted: {whose}")
        try:
            return self._restored(record, notes)
        except (AppError, OSError, ValueError) as error:
            if isinstance(error, AppError) and error.code is ErrorCode.STORE_UNAVAILABLE:
                raise
            return RebuiltRun(kept.run_id, "skipped", record.status.value, f"cannot be restored: {error}")

    def _restored(self, kept: RunRecord, notes: list[str]) -> RebuiltRun:
        kept = self._pointing(kept)
        folder = folder_of(kept, self._artifacts)
        events = self._stored_events(kept, notes) if folder is None else read_events(folder / "events.jsonl")
        record = self._pointing(caught_up(kept, events))
        if not self._runs.restore(record, completed(record, events)):
            known = self._runs.get(kept.run_id)
            self._refer_again(known, notes)
            return RebuiltRun(
                kept.run_id, "known", known.status.value, "; ".join(["the store has it", *notes])
            )
        self._refer_again(record, notes)
        self._keep(kept.run_id)
        if record.status is not kept.status:
            notes.append(f"its events tell more than its record, which says {kept.status.value}")
            if record.status.is_terminal:
                self._close_account(kept.run_id)
        return RebuiltRun(kept.run_id, "restored", record.status.value, "; ".join(notes))

    def _pointing(self, record: RunRecord) -> RunRecord:
        """With where its artifact is stored: the pointer beside the record is written first."""
        pointer = self._artifacts.read_pointer(record.run_id)
        if pointer is None or pointer.artifact_file_id is None or record.status is not RunStatus.COMPLETED:
            return record
        stored: dict[str, object] = {"artifact_file_id": pointer.artifact_file_id}
        return record.model_copy(update=stored)

    def _stored_events(self, record: RunRecord, notes: list[str]) -> tuple[StoredEvent, ...]:
        try:
            return self._stored.events(record)
        except AppError as error:
            notes.append(
                f"its events are told from its record, the store does not give them: {error.message}"
            )
            return ()

    def _refer_again(self, record: RunRecord, notes: list[str]) -> None:
        """What cannot be known now is said, and found by the next rebuild."""
        try:
            self._stored.refer(record)
        except AppError as error:
            notes.append(f"its files in the store may be removed until this is done again: {error.message}")
