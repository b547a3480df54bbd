"""A house with artifacts, and somebody who looks after it."""

import threading
import time
from dataclasses import dataclass

from model_trainer.core.config import load_settings
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.maintenance.artifacts import ArtifactKeeper
from model_trainer.worker.manifests import seal_again
from model_trainer.worker.storing import Layout
from tests.unit.worker.sealed import House

LAYOUTS: tuple[Layout, ...] = ("files", "tarball")


@dataclass
class Room:
    """A house with somebody who looks after it."""

    house: House
    enabled: bool | None = True
    dry_run: bool = False
    verify: bool = True
    grace_seconds: int = 0
    layout: Layout = "files"
    later_seconds: float = 10.0
    """How much time has passed since everything that was done."""

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        self.keeper = self.keeper_now()

    def keeper_now(self) -> ArtifactKeeper:
        """One that has not seen anything yet."""
        policy = load_settings(env_file=None).app.cleanup.model_copy(
            update={
                "enabled": self.enabled,
                "dry_run": self.dry_run,
                "verify_upload": self.verify,
                "grace_period_seconds": self.grace_seconds,
            }
        )
        return ArtifactKeeper(
            root=self.house.folder / "artifacts",
            runs=self.house.bench.store,
            artifacts=self.house.tree,
            store=self.house.store,
            references=self.house.bench.references,
            layout=self.layout,
            policy=policy,
            stop=self.stop,
            now=lambda: time.time() + self.later_seconds,
        )

    def file_id(self, run_id: str) -> str | None:
        """Where a run's artifact is stored."""
        return self.house.bench.store.get(run_id).artifact_file_id

    def in_store(self) -> set[str]:
        """Ids of all files there."""
        return {file.file_id for file in self.house.bench.files.list_files(limit=1000).files}

    def is_here(self, run_id: str, kind: ArtifactKind = "models") -> bool:
        """Whether this machine has a copy."""
        return self.house.local.here(kind, run_id) is not None

    def add(self, run_id: str, name: str, content: bytes) -> None:
        """As a later job would."""
        folder = self.house.local.folder("models", run_id)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        seal_again(folder, {})
