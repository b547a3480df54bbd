"""Bytes: the folders jobs write to, and the only door to corpora."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
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
    is_near: bool = True
    """Whether the files lie on this machine; only look_up() gives others, and those must not be opened."""
    hold: object = field(default=None, compare=False, repr=False)
    """What keeps a clean-up from removing them, for as long as this object is there."""


FetchReport = Callable[[int, int], None]
"""Told how many bytes have come, of how many (0: nobody knows); may raise to stop the fetch."""


def nobody_listens(_done: int, _total: int) -> None:
    """For those who do not follow a fetch."""


class CorpusRoot(Protocol):
    """The data root, and the files of the store by reference (`sha256:<file_id>.txt`). Nothing else is ever opened."""

    def locate(
        self,
        corpus_path: str,
        *,
        suffixes: tuple[str, ...] = TEXT_SUFFIXES,
        pointer: str = "/corpus_path",
        report: FetchReport = nobody_listens,
    ) -> CorpusSource:
        """The files of a corpus with these suffixes, by names and sizes alone; a file of the store is fetched first.

        Faults name the field at `pointer`. Raises DATA_NOT_FOUND, DATA_PATH_FORBIDDEN (outside the root, symlinks, devices), DATA_EMPTY,
        DATA_FORMAT_UNSUPPORTED; for a file of the store also CONFIG_INVALID (larger than the cache may become), ARTIFACT_CORRUPT,
        DISK_FULL and STORE_UNAVAILABLE.
        """
        ...

    def look_up(
        self,
        corpus_path: str,
        *,
        suffixes: tuple[str, ...] = TEXT_SUFFIXES,
        pointer: str = "/corpus_path",
    ) -> CorpusSource:
        """As locate(), for who must answer at once: a file of the store that would take long to fetch is left where it is,
        and the source says so (`is_near`)."""
        ...


@dataclass(frozen=True, slots=True)
class CorpusCacheEntry:
    """A file of the store that has been fetched, or is being fetched, for reading."""

    file_id: str
    path: Path
    """Its folder."""
    num_bytes: int
    """What it takes, or will take when it is whole; nothing for one that shares its bytes with a store on the same disk."""
    used_at: float
    """Seconds since the epoch."""


class CorpusCache(Protocol):
    """Files of the store, fetched for reading: within bounds, and never away from under somebody who reads."""

    def entries(self) -> tuple[CorpusCacheEntry, ...]:
        """All of them, longest unused first."""
        ...

    def due(self, need_bytes: int = 0) -> tuple[CorpusCacheEntry, ...]:
        """What must go, longest unused first, to stay within the bounds when `need_bytes` more come. Entries in use are
        passed over."""
        ...

    def remove(self, entry: CorpusCacheEntry) -> bool:
        """Removes an entry; False when it is in use, or has gone already."""
        ...

    def make_room(self, need_bytes: int) -> tuple[CorpusCacheEntry, ...]:
        """Removes what is due, and tells what; raises DISK_FULL where that is not enough."""
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
        """The folder of an item, brought back from the store where it has left this machine; raises ARTIFACT_NOT_FOUND, and
        ARTIFACT_CORRUPT or STORE_UNAVAILABLE where that fails."""
        ...

    def use(
        self, kind: ArtifactKind, item_id: str, *, report: FetchReport = nobody_listens
    ) -> AbstractContextManager[Path]:
        """The folder of an item; inside the with-block no clean-up removes it from this machine, also in other processes.

        `report` is told while the folder is brought back from the store, and while another does that. Raises
        ARTIFACT_NOT_FOUND, and what the store raises where the folder must be brought back from there.
        """
        ...

    def exists(self, kind: ArtifactKind, item_id: str) -> bool:
        """Whether the item has a folder, here or in the store."""
        ...

    def here(self, kind: ArtifactKind, item_id: str) -> Path | None:
        """The folder of an item when it lies on this machine. Nothing is brought back for the question, and it is no use."""
        ...

    def used_at(self, kind: ArtifactKind, item_id: str) -> float:
        """When the folder was asked for last, or made; in seconds since 1970."""
        ...

    def remove(self, kind: ArtifactKind, item_id: str, *, if_still: Callable[[Path], bool]) -> bool:
        """Takes the folder of an item off this machine, at once for all who look; False when it is not here, when somebody
        uses it, or when `if_still`, asked while nobody can begin to, says no."""
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
        """Writes `<runs root>/<run_id>/manifest.json` atomically. Where the artifact is stored stays known from the pointer
        before when this one does not say."""
        ...

    def read_pointer(self, run_id: str) -> RunPointer | None:
        """The pointer of a run; None when there is none that can be read."""
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
