"""Checkpoints on disk: a directory is complete or absent, and nothing is loaded that does not verify.

Knows tensors and one JSON state; not what they mean.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.checkpoints import (
    CONTENT,
    MODEL_FILE,
    STATE_FILE,
    TRAINING_FILE,
    name_of,
    read_manifest,
    read_state,
    steps_in,
    what_is_wrong,
)
from model_trainer.core.contracts.checkpoint import (
    SCHEMA_VERSION,
    CheckpointManifest,
    FileDigest,
    TrainingState,
)
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint, Reached, pass_by
from model_trainer.core.files import TEMPORARY_PREFIX, fsync_folder, sha256_of
from model_trainer.engine.tensor_files import tensor_disk_errors, write_tensors

Tensors = dict[str, Tensor]
Sign = Callable[[], object]

_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that training needs to go on as if it had never stopped."""

    state: TrainingState
    model: Tensors
    training: Tensors
    """Optimizer, carried state and random generators, by prefixed names."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that is complete on disk."""

    step: int
    path: Path
    num_bytes: int
    metrics: dict[str, float]


class Commit(Protocol):
    """How the files of a checkpoint come to stand under its name."""

    def __call__(self, target: Path, fill: Callable[[Path], None], *, reached: Reached) -> None:
        """Puts what `fill` writes, into the folder it is given, at `target`."""
        ...


def no_sign() -> None:
    """Nobody needs to know that this goes on."""


def commit_whole(target: Path, fill: Callable[[Path], None], *, reached: Reached) -> None:
    """Fills a temporary folder and renames it: `target` is found whole or not at all, whatever happens meanwhile."""
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}")
    try:
        temporary.mkdir()
        reached(Failpoint.CHECKPOINT_FOLDER_MADE)
        fill(temporary)
        if target.exists():  # one that did not verify: a directory cannot be renamed onto it
            _remove(target, reached=reached)
        temporary.rename(target)
        reached(Failpoint.CHECKPOINT_RENAMED)
    finally:  # renamed by now, unless something went wrong
        shutil.rmtree(temporary, ignore_errors=True)
    fsync_folder(target.parent)
    reached(Failpoint.CHECKPOINT_PARENT_SYNCED)


class CheckpointFolder:
    """The checkpoints of one run, by step. One writer at a time: the run's owner."""

    def __init__(
        self,
        folder: Path,
        *,
        write_tensors: Callable[[Tensors, Path], None] = write_tensors,
        sign: Sign = no_sign,
        reached: Reached = pass_by,
        commit: Commit = commit_whole,
    ) -> None:
        """`sign`: called after each file that is written or read, for whoever must know that this goes on; by whatever
        thread writes or reads. `commit` is for tests of what happens when it is done badly."""
        self._folder = folder
        self._write_tensors = write_tensors
        self._sign = sign
        self._reached = reached
        self._commit = commit

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, verified or not, in order."""
        return steps_in(self._folder)

    def path_of(self, step: int) -> Path:
        """Where the checkpoint of `step` is, or would be."""
        return self._folder / name_of(step)

    def save(self, snapshot: Snapshot, *, sign: Sign = no_sign, before_commit: Sign = no_sign) -> Saved:
        """Writes a checkpoint that is found whole or not at all.

        `sign` is called after each file, `before_commit` when all of it is on disk and not visible yet; what they raise
        leaves nothing behind. Raises DISK_FULL, STORAGE_READ_ONLY, or CHECKPOINT_NOT_WRITTEN for any other fault of the
        disk. What failed is written anew when it is tried again, never forced to disk a second time: after a failed fsync
        the kernel may have dropped the pages and still say yes.
        """
        target = self.path_of(snapshot.state.step)

        def fill(folder: Path) -> None:
            self._fill(folder, snapshot, sign=sign)
            before_commit()
            self._reached(Failpoint.CHECKPOINT_ROWS_SYNCED)

        with _storage_faults(target):
            self._reached(Failpoint.CHECKPOINT_BEGUN)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._commit(target, fill, reached=self._reached)
            num_bytes = sum((target / name).stat().st_size for name in CONTENT)
        return Saved(
            step=snapshot.state.step, path=target, num_bytes=num_bytes, metrics=snapshot.state.metrics
        )

    def load(self, step: int, *, sign: Sign = no_sign) -> Snapshot:
        """The checkpoint of `step`, every byte verified first; raises CHECKPOINT_INVALID with the reason."""
        path = self.path_of(step)
        try:
            manifest = read_manifest(path, step=step)
            for name, digest in manifest.files.items():
                if sha256_of(path / name) != digest.sha256:
                    raise ValueError(f"{name} does not match its digest")
                self._sign()
                sign()
            return Snapshot(
                state=read_state(path),
                model=load_file(path / MODEL_FILE),
                training=load_file(path / TRAINING_FILE),
            )
        except (ValueError, OSError) as error:
            raise _invalid(what_is_wrong(error)) from error
        except SafetensorError as error:
            raise _invalid(f"it cannot be read: {error}") from error

    def retain(
        self, *, newest: int, keep_last: int, best: int | None, passed_over: Collection[int] = ()
    ) -> None:
        """Removes what need not be kept; `newest`, just written, and `best` always stay. What was passed over when the run
        resumed goes, and is not counted among the last ones: it is no good.

        Of what lies after `newest`, nothing else goes: it is the work of a later owner, and this one does not know yet
        that it has lost the run.
        """
        steps = self.steps()
        older = [step for step in steps if step <= newest and step not in passed_over]
        kept = {*older[-keep_last:], newest, best}
        for step in steps:
            if step not in kept and (step < newest or step in passed_over):
                with _storage_faults(self.path_of(step)):
                    _remove(self.path_of(step), reached=self._reached)

    def forget_after(self, step: int) -> None:
        """Removes all checkpoints after `step`, the newest first: whenever this is cut short, those that are left are of one
        and the same course."""
        for later in reversed(self.steps()):
            if later > step:
                with _storage_faults(self.path_of(later)):
                    _remove(self.path_of(later), reached=self._reached)

    def sweep(self) -> None:
        """Removes what a writer that died left half done."""
        for path in self._leftovers():
            with _storage_faults(path):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def _leftovers(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from [path for path in self._folder.iterdir() if path.name.startswith(TEMPORARY_PREFIX)]

    def _fill(self, folder: Path, snapshot: Snapshot, *, sign: Sign) -> None:
        """Everything, on disk for good."""

        def went_on() -> None:
            self._sign()
            sign()

        self._write_tensors(_on_cpu(snapshot.model), folder / MODEL_FILE)
        went_on()
        self._reached(Failpoint.CHECKPOINT_MODEL_WRITTEN)
        self._write_tensors(_on_cpu(snapshot.training), folder / TRAINING_FILE)
        went_on()
        self._reached(Failpoint.CHECKPOINT_TRAINING_WRITTEN)
        (folder / STATE_FILE).write_text(snapshot.state.model_dump_json(indent=2))
        self._reached(Failpoint.CHECKPOINT_STATE_WRITTEN)
        files: dict[str, FileDigest] = {}
        for name in CONTENT:
            files[name] = _digest_of(folder / name)
            went_on()
        self._reached(Failpoint.CHECKPOINT_HASHED)
        manifest = CheckpointManifest(schema_version=SCHEMA_VERSION, step=snapshot.state.step, files=files)
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
        self._reached(Failpoint.CHECKPOINT_MANIFEST_WRITTEN)
        for name in (*CONTENT, MANIFEST):
            _fsync(folder / name)
        self._reached(Failpoint.CHECKPOINT_FILES_SYNCED)
        fsync_folder(folder)
        self._reached(Failpoint.CHECKPOINT_FOLDER_SYNCED)


def _remove(path: Path, *, reached: Reached) -> None:
    """Out of sight first, in one step, so that a crash leaves no half of a checkpoint under its name."""
    doomed = path.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}")
    path.rename(doomed)
    reached(Failpoint.CHECKPOINT_OLD_HIDDEN)
    shutil.rmtree(doomed)
    reached(Failpoint.CHECKPOINT_OLD_REMOVED)


def _on_cpu(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _digest_of(path: Path) -> FileDigest:
    return FileDigest(sha256=sha256_of(path), num_bytes=path.stat().st_size)


def _fsync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _storage_faults(path: Path) -> Iterator[None]:
    """Inside, faults of the disk have codes of ours."""
    try:
        with tensor_disk_errors(path):
            yield
    except (OSError, SafetensorError) as error:
        number = _errno_of(error)
        if number is None:
            raise
        why = os.strerror(number)
        if number in _READ_ONLY:
            raise AppError(
                ErrorCode.STORAGE_READ_ONLY,
                f"Nothing can be written where checkpoints go ({why}). Give the worker a folder it may write to, then "
                "resume the run: its last good checkpoint is kept.",
                facts={"path": path.name, "why": why},
            ) from error
        raise AppError(
            ErrorCode.CHECKPOINT_NOT_WRITTEN,
            f"The checkpoint could not be written ({why}). The last good one is kept; look at the disk if it happens again.",
            facts={"path": path.name, "why": why},
        ) from error


def _errno_of(error: OSError | SafetensorError) -> int | None:
    """The system's number of the fault; safetensors, written in Rust, has it in its text. None for a fault of ours."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _invalid(why: str) -> AppError:
    return AppError(ErrorCode.CHECKPOINT_INVALID, f"The checkpoint is not used: {why}.", facts={"why": why})
