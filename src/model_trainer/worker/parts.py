"""What every job is handed: built once by the container, passed down, never looked up."""

from dataclasses import dataclass

from model_trainer.core.config import Settings
from model_trainer.core.contracts.run import RunPage, RunQuery, RunRecord
from model_trainer.core.failpoints import Reached, pass_by
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree, CorpusRoot, RunLocks
from model_trainer.core.ports.store import ArtifactStore, References
from model_trainer.registry import Registry
from model_trainer.worker.recording import patiently


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """The ports a job works through, and who it is."""

    settings: Settings
    registry: Registry
    runs: RunStore
    artifacts: ArtifactTree
    corpora: CorpusRoot
    locks: RunLocks
    store: ArtifactStore
    references: References
    worker_id: str
    reached: Reached = pass_by

    def other_run(self, run_id: str) -> RunRecord:
        """The record of a run that this job builds on; raises RUN_NOT_FOUND. A store that is away is waited for,
        for as long as a lease lasts: nobody can cancel or pause anything meanwhile."""
        return patiently(lambda: self.runs.get(run_id), seconds=self.settings.app.lease_seconds)

    def other_runs(self, query: RunQuery) -> RunPage:
        """The same for a page of runs."""
        return patiently(lambda: self.runs.list_runs(query), seconds=self.settings.app.lease_seconds)
