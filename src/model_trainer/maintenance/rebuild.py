"""Redis from the disk: brings every run back that the store has lost. Safe beside services that are at work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.run import RunRecord
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


class Rebuild:
    """One pass over the records on disk."""

    def __init__(
        self,
        *,
        runs: ForgetfulRuns,
        artifacts: ArtifactTree,
        keep: RecordKeeper,
        close_account: Callable[[str], object],
        adopt: bool,
    ) -> None:
        """Nothing is read yet.

        Args:
            runs: what lost them.
            artifacts: where their records lie.
            keep: brings records on disk up to date.
            close_account: brings an end to disk that is known from events alone.
            adopt: whether to take records that another installation wrote.
        """
        self._runs = runs
        self._artifacts = artifacts
        self._keep = keep
        self._close_account = close_account
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
        folder = folder_of(kept, self._artifacts)
        events = () if folder is None else read_events(folder / "events.jsonl")
        record = caught_up(kept, events)
        if not self._runs.restore(record, completed(record, events)):
            status = self._runs.get(kept.run_id).status
            return RebuiltRun(kept.run_id, "known", status.value, "the store has it")
        self._keep(kept.run_id)
        if record.status is not kept.status:
            notes.append(f"its events tell more than its record, which says {kept.status.value}")
            if record.status.is_terminal:
                self._close_account(kept.run_id)
        return RebuiltRun(kept.run_id, "restored", record.status.value, "; ".join(notes))
