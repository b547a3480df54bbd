"""Bytes: the folders jobs write to, and the only door to corpora."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model_trainer.core.contracts.manifest import ArtifactKind, RunPointer
from model_trainer.core.contracts.run import RunRecord

TEXT_SUFFIXES = (".txt", ".md", ".jsonl", ".parquet")
"""Of files that text to learn from is read from."""
LABELLED_SUFFIXES = (".csv", ".jsonl", ".parquet")
"""Of files that labelled texts are read from."""


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

    def locate(
        self,
        corpus_path: str,
        *,
        suffixes: tuple[str, ...] = TEXT_SUFFIXES,
        pointer: str = "/corpus_path",
    ) -> CorpusSource:
        """The files of a corpus with these suffixes, by names and sizes alone.

        Faults name the field at `pointer`. Raises DATA_NOT_FOUND, DATA_PATH_FORBIDDEN (outside the root, symlinks, devices), DATA_EMPTY,
        DATA_FORMAT_UNSUPPORTED.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """A record as it was found on disk."""

    run_id: str
    record: RunRecord | None
    installation_id: str | None
    """Who wrote it."""
    problem: str | None
    """Why there is no record."""


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

    def installation_id(self) -> str:
        """Whose artifacts these are: a ULID, made and kept on disk at the first call."""
        ...

    def keep_record(self, record: RunRecord) -> None:
        """Writes `<runs root>/<run_id>/record.json` atomically: what `model-trainer rebuild` starts from when Redis has
        lost everything. An older record (by epoch, last_event_seq, updated_at_ms) does not replace a newer one."""
        ...

    def kept_records(self) -> Iterator[KeptRecord]:
        """All records on disk, oldest id first; one that cannot be read comes with the reason."""
        ...


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that has a run's lock, as it described itself."""

    host: str
    boot_id: str
    pid: int
    started_ticks: int
    """With boot_id and pid: this process, and not a later one of the same number."""
    epoch: int
    """Of the order it works on."""


class HeldLock(Protocol):
    """A lock that this process has."""

    def release(self) -> None:
        """Gives it up; the end of the process does so too."""
        ...


class RunLocks(Protocol):
    """One trainer of a run at a time on this machine, by the kernel's word (flock), which outlives no process.

    Where the system has no such lock the lease alone decides: take() succeeds always, is_free() says no.
    """

    @property
    def host(self) -> str:
        """This machine's name, as records carry it."""
        ...

    def take(self, run_id: str, *, epoch: int) -> HeldLock | None:
        """The lock, before the lease is claimed; None when another process has it.

        A holder on this machine that works on an older order has lost its lease (this order would not exist
        otherwise): it is killed, and the lock is taken when the kernel has freed it.
        """
        ...

    def take_if_free(self, run_id: str) -> HeldLock | None:
        """The lock, to look after a run that nobody works on; None when another process has it. Nobody is killed for it,
        and who takes it so is not killed for an order."""
        ...

    def is_free(self, run_id: str) -> bool:
        """Whether nobody has the lock: a holder of the lease on this machine is dead then."""
        ...
