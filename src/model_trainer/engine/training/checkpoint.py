"""Checkpoints on disk: a directory is complete or absent, and nothing is loaded that does not verify.

Knows tensors and one JSON state; not what they mean.
"""

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX, fsync_folder, sha256_of
from model_trainer.engine.tensor_files import tensor_disk_errors, write_tensors
from model_trainer.engine.training.state import SCHEMA_VERSION, TrainingState

Tensors = dict[str, Tensor]

_NAME = re.compile(r"step-(\d{10})")
_MODEL = "model.safetensors"
_TRAINING = "training.safetensors"
_STATE = "state.json"
_MANIFEST = "manifest.json"


class FileDigest(Contract):
    """One file of a checkpoint."""

    sha256: str
    num_bytes: int


class CheckpointManifest(Contract):
    """manifest.json: written last, lists everything else."""

    schema_version: Literal[1]
    step: int
    files: dict[str, FileDigest]


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

    path: Path
    num_bytes: int


class CheckpointFolder:
    """The checkpoints of one run, by step. One writer at a time: the run's owner."""

    def __init__(
        self,
        folder: Path,
        *,
        write_tensors: Callable[[Tensors, Path], None] = write_tensors,
        sign: Callable[[], object] = lambda: None,
    ) -> None:
        """`sign`: called after each file that is written or read, for whoever must know that this goes on."""
        self._folder = folder
        self._write_tensors = write_tensors
        self._sign = sign

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, verified or not, in order."""
        if not self._folder.exists():
            return []
        names = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        return sorted(int(name[1]) for name in names if name)

    def path_of(self, step: int) -> Path:
        """Where the checkpoint of `step` is, or would be."""
        return self._folder / f"step-{step:010d}"

    def save(self, snapshot: Snapshot) -> Saved:
        """Writes a checkpoint that is found whole or not at all, whatever happens meanwhile; raises DISK_FULL."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f"{TEMPORARY_PREFIX}{new_ulid()}"
        target = self.path_of(snapshot.state.step)
        try:
            with tensor_disk_errors(target):
                temporary.mkdir()
                num_bytes = self._fill(temporary, snapshot)
                self._put(temporary, target)
        finally:  # renamed by now, unless something went wrong
            shutil.rmtree(temporary, ignore_errors=True)
        return Saved(path=target, num_bytes=num_bytes)

    def load(self, step: int) -> Snapshot:
        """The checkpoint of `step`, every byte verified first; raises CHECKPOINT_INVALID with the reason."""
        path = self.path_of(step)
        try:
            manifest = CheckpointManifest.model_validate_json((path / _MANIFEST).read_bytes())
            if manifest.step != step or set(manifest.files) != {_MODEL, _TRAINING, _STATE}:
                raise _invalid("its manifest is of another checkpoint")
            for name, digest in manifest.files.items():
                _verify(path / name, digest)
                self._sign()
            return Snapshot(
                state=TrainingState.model_validate_json((path / _STATE).read_bytes()),
                model=load_file(path / _MODEL),
                training=load_file(path / _TRAINING),
            )
        except ValidationError as error:
            raise _invalid(f"{error.title} does not fit this version") from error
        except (OSError, SafetensorError) as error:
            raise _invalid(f"it cannot be read: {error}") from error

    def retain(
        self, *, newest: int, keep_last: int, best: int | None, passed_over: Collection[int] = ()
    ) -> None:
        """Removes what need not be kept; `newest`, just written, and `best` always stay.

        Of what lies after `newest`, only what was passed over when the run resumed goes: the rest is the work of a
        later owner, and this one does not know yet that it has lost the run.
        """
        steps = self.steps()
        older = [step for step in steps if step <= newest]
        kept = {*older[-keep_last:], newest, best}
        for step in steps:
            if step not in kept and (step < newest or step in passed_over):
                self._remove(self.path_of(step))

    def sweep(self) -> None:
        """Removes what a writer that died left half done."""
        for path in self._leftovers():
            shutil.rmtree(path)

    def _leftovers(self) -> Iterator[Path]:
        if self._folder.exists():
            yield from [path for path in self._folder.iterdir() if path.name.startswith(TEMPORARY_PREFIX)]

    def _fill(self, folder: Path, snapshot: Snapshot) -> int:
        for name, tensors in ((_MODEL, snapshot.model), (_TRAINING, snapshot.training)):
            self._write_tensors(_on_cpu(tensors), folder / name)
            self._sign()
        (folder / _STATE).write_text(snapshot.state.model_dump_json(indent=2))
        names = (_MODEL, _TRAINING, _STATE)
        files: dict[str, FileDigest] = {}
        for name in names:
            files[name] = _digest_of(folder / name)
            self._sign()
        manifest = CheckpointManifest(schema_version=SCHEMA_VERSION, step=snapshot.state.step, files=files)
        (folder / _MANIFEST).write_text(manifest.model_dump_json(indent=2))
        for name in (*names, _MANIFEST):
            _fsync(folder / name)
        fsync_folder(folder)
        return sum(digest.num_bytes for digest in files.values())

    def _put(self, temporary: Path, target: Path) -> None:
        if target.exists():  # one that did not verify: a directory cannot be renamed onto it
            self._remove(target)
        temporary.rename(target)
        fsync_folder(self._folder)

    def _remove(self, path: Path) -> None:
        """Out of sight first, in one step, so that a crash leaves no half of a checkpoint under its name."""
        doomed = self._folder / f"{TEMPORARY_PREFIX}{new_ulid()}"
        path.rename(doomed)
        shutil.rmtree(doomed)


def _on_cpu(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _digest_of(path: Path) -> FileDigest:
    return FileDigest(sha256=sha256_of(path), num_bytes=path.stat().st_size)


def _verify(path: Path, digest: FileDigest) -> None:
    if path.stat().st_size != digest.num_bytes:
        raise _invalid(f"{path.name} has {path.stat().st_size} bytes, not {digest.num_bytes}")
    if sha256_of(path) != digest.sha256:
        raise _invalid(f"{path.name} does not match its digest")


def _fsync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _invalid(why: str) -> AppError:
    return AppError(ErrorCode.CHECKPOINT_INVALID, f"The checkpoint is not used: {why}.", facts={"why": why})
