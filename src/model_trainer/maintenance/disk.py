"""Runs that stand still for want of disk space go on when there is space again."""

from collections.abc import Iterator

from model_trainer.core.contracts.run import RunKind, RunQuery, RunRecord, RunStatus
from model_trainer.core.errors import Reason
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.maintenance.asking import PatientAsker
from model_trainer.maintenance.reaper import Keep

log = get_logger(__name__)

PAGE = 100
CHECKPOINTS_OF_SPACE = 2
"""A new checkpoint is complete before the one it replaces is removed."""


class DiskWatch:
    """Looks for free space on behalf of the runs that wait for it."""

    def __init__(
        self,
        *,
        runs: RunStore,
        artifacts: ArtifactTree,
        min_free_bytes: int,
        keep: Keep,
        asker: PatientAsker,
        page: int = PAGE,
    ) -> None:
        """Nothing is looked at yet; `min_free_bytes` must stay free beside what a run needs."""
        self._runs = runs
        self._artifacts = artifacts
        self._min_free_bytes = min_free_bytes
        self._keep = keep
        self._asker = asker
        self._page = page

    def look(self) -> int:
        """Puts those back to the queue, oldest first, whose checkpoints fit; returns how many.

        What one of them will need is not promised to the next.
        """
        waiting = self._asker.ask(self._waiting)
        if not waiting:
            return 0
        try:
            free = self._artifacts.free_bytes()
        except OSError as error:
            log.warning("free_space_unknown", detail=str(error))
            return 0
        resumed = 0
        for record in waiting:
            needed = _needed_bytes(record)
            if free < max(self._min_free_bytes, needed) or not self._resume(record.run_id):
                continue
            log.info("disk_space_is_back", run_id=record.run_id, num_bytes=free)
            self._keep(record.run_id)
            free -= needed
            resumed += 1
        return resumed

    def _resume(self, run_id: str) -> bool:
        return self._asker.ask(lambda: self._runs.resume_when_due(run_id)) is True

    def _waiting(self) -> tuple[RunRecord, ...]:
        paused = (record for kind in RunKind for record in self._paused(kind))
        found = [record for record in paused if record.reason is Reason.DISK_FULL]
        return tuple(sorted(found, key=_run_id))

    def _paused(self, kind: RunKind) -> Iterator[RunRecord]:
        query = RunQuery(kind=kind, limit=self._page, status=RunStatus.PAUSED)
        while True:
            page = self._runs.list_runs(query)
            yield from page.records
            if not page.has_more or not page.records:
                return
            after: dict[str, object] = {"after": page.records[-1].run_id}
            query = query.model_copy(update=after)


def _run_id(record: RunRecord) -> str:
    return record.run_id


def _needed_bytes(record: RunRecord) -> int:
    return 0 if record.checkpoint is None else CHECKPOINTS_OF_SPACE * record.checkpoint.num_bytes
