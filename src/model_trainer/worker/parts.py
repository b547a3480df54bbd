"""What every job is handed: built once by the container, passed down, never looked up."""

from dataclasses import dataclass

from model_trainer.core.config import Settings
from model_trainer.core.failpoints import Reached, pass_by
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree, CorpusRoot, RunLocks
from model_trainer.registry import Registry


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """The ports a job works through, and who it is."""

    settings: Settings
    registry: Registry
    runs: RunStore
    artifacts: ArtifactTree
    corpora: CorpusRoot
    locks: RunLocks
    worker_id: str
    reached: Reached = pass_by
