"""The artifact trees under test, and where their files lie."""

from collections.abc import Callable
from pathlib import Path

from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.memory import MemoryArtifactTree
from model_trainer.infra.storage.stored_tree import StoredArtifactTree
from model_trainer.infra.storage.stores.memory import MemoryStore

ITEM = "01JD8Z3M6Q4T7V9XW2Y5A1B3C4"
TREES = ("local", "memory", "stored")


def tree_of(kind: str, folder: Path) -> ArtifactTree:
    """An empty tree; what it has on disk lies in this folder."""
    made: dict[str, Callable[[], ArtifactTree]] = {
        "local": lambda: LocalArtifactTree(folder / "artifacts", folder / "runs"),
        "memory": MemoryArtifactTree,
        "stored": lambda: StoredArtifactTree(
            LocalArtifactTree(folder / "artifacts", folder / "runs"),
            store=MemoryStore(),
            record_of=MemoryRunStore(queue=MemoryJobQueue(), clock=lambda: 0.0, announce=lambda _: None).get,
        ),
    }
    return made[kind]()


def again(tree: ArtifactTree) -> ArtifactTree:
    """The same folders, as another process opens them."""
    return LocalArtifactTree(artifacts_root(tree), runs_root(tree))


def artifacts_root(tree: ArtifactTree) -> Path:
    """Where its artifacts lie."""
    return tree.cache_folder().parent


def runs_root(tree: ArtifactTree) -> Path:
    """Where its pointers and records lie."""
    return tree.cache_folder().parent.parent / "runs"
