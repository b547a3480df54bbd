"""Storage that leaves nothing behind. Jobs write real files, so these are real folders that go when their owner does."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.corpus_root import LocalCorpusRoot


class MemoryArtifactTree(LocalArtifactTree):
    """An artifact tree in a temporary folder."""

    def __init__(self) -> None:
        """Starts empty."""
        self.root = _folder_living_with(self)
        super().__init__(self.root / "artifacts", self.root / "runs")


class MemoryCorpusRoot(LocalCorpusRoot):
    """A data root in a temporary folder, with the given files in it."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        """`files`: text (as UTF-8) or bytes by relative name."""
        self.root = _folder_living_with(self)
        super().__init__(self.root)
        for name, content in files.items():
            self.put(name, content)

    def put(self, name: str, content: str | bytes) -> None:
        """Adds or replaces a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def _folder_living_with(owner: object) -> Path:
    folder = tempfile.mkdtemp(prefix="model-trainer-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
