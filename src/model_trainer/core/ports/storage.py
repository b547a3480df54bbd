"""Bytes: the folders jobs write to, and the only door to corpora."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model_trainer.core.contracts.manifest import ArtifactKind, RunPointer


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """The regular files of one corpus, checked to lie under the data root."""

    corpus_path: str
    """As it was asked for."""
    base: Path
    """Absolute; file names are relative to it."""
    names: tuple[str, ...]
    """Sorted, forward slashes."""
    num_bytes: int


class CorpusRoot(Protocol):
    """The data root. Nothing outside it is ever opened."""

    def locate(self, corpus_path: str) -> CorpusSource:
        """The files of a corpus, by names and sizes alone.

        Raises DATA_NOT_FOUND, DATA_PATH_FORBIDDEN (outside the root, symlinks, devices), DATA_EMPTY,
        DATA_FORMAT_UNSUPPORTED.
        """
        ...


class ArtifactTree(Protocol):
    """`<artifacts root>/<kind>/<id>/...` and the run pointers beside it."""

    def create(self, kind: ArtifactKind, item_id: str) -> Path:
        """The folder of an item, made when it is missing."""
        ...

    def folder(self, kind: ArtifactKind, item_id: str) -> Path:
        """The folder of an item; raises ARTIFACT_NOT_FOUND."""
        ...

    def exists(self, kind: ArtifactKind, item_id: str) -> bool:
        """Whether the item has a folder."""
        ...

    def file(self, kind: ArtifactKind, item_id: str, path: str) -> Path:
        """A regular file inside an item's folder; raises ARTIFACT_NOT_FOUND for anything else (links, `..`)."""
        ...

    def files(self, kind: ArtifactKind, item_id: str) -> tuple[str, ...]:
        """Relative names of all regular files of an item, sorted; temporary ones left out."""
        ...

    def cache_folder(self) -> Path:
        """Where token blocks are kept between runs."""
        ...

    def write_pointer(self, pointer: RunPointer) -> None:
        """Writes `<runs root>/<run_id>/manifest.json` atomically."""
        ...

    def free_bytes(self) -> int:
        """Free space where artifacts go."""
        ...
