"""Which checkpoints a run has, read without loading a tensor: for those who choose one. Knows nothing of training."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.checkpoint import CheckpointManifest, TrainingState

MODEL_FILE: Final = "model.safetensors"
TRAINING_FILE: Final = "training.safetensors"
STATE_FILE: Final = "state.json"
CONTENT: Final = (MODEL_FILE, TRAINING_FILE, STATE_FILE)
"""What a manifest lists: exactly these."""

_NAME = re.compile(r"step-([0-9]{10})")


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """One checkpoint as it lies on disk."""

    step: int
    path: str
    """Its name in the folder of checkpoints."""
    num_bytes: int
    saved_at_ms: int
    metrics: dict[str, float]
    """The latest of each when it was saved."""
    is_best: bool
    """Whether the run's best evaluation so far was of these weights."""
    problem: str | None
    """Why it cannot be used; None when nothing speaks against it. Digests are looked at only when it is loaded."""


def name_of(step: int) -> str:
    """The folder name of the checkpoint of `step`."""
    return f"step-{step:010d}"


def steps_in(folder: Path) -> list[int]:
    """Steps that have a checkpoint, verified or not, in order."""
    if not folder.is_dir():
        return []
    names = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
    return sorted(int(name[1]) for name in names if name)


def read_manifest(path: Path, *, step: int) -> CheckpointManifest:
    """The manifest of the checkpoint at `path`.

    Raises ValueError with the reason when it is of something else (ValidationError when it is of another version), OSError.
    """
    manifest = CheckpointManifest.model_validate_json((path / MANIFEST).read_bytes())
    if manifest.step != step or set(manifest.files) != set(CONTENT):
        raise ValueError("its manifest is of another checkpoint")
    for name, digest in manifest.files.items():
        num_bytes = (path / name).stat().st_size
        if num_bytes != digest.num_bytes:
            raise ValueError(f"{name} has {num_bytes} bytes, not {digest.num_bytes}")
    return manifest


def read_state(path: Path) -> TrainingState:
    """state.json of the checkpoint at `path`; raises ValidationError, OSError."""
    return TrainingState.model_validate_json((path / STATE_FILE).read_bytes())


def what_is_wrong(error: ValueError | OSError) -> str:
    """A reason in words, without the path of a file."""
    if isinstance(error, ValidationError):
        return f"{error.title} does not fit this version"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror}"
    return str(error)


def list_checkpoints(folder: Path) -> tuple[CheckpointFacts, ...]:
    """The checkpoints in `folder`, by step; those that a writer or the clean-up takes away meanwhile are left out."""
    found = [_Found.of(folder / name_of(step), step) for step in steps_in(folder)]
    there = [one for one in found if (folder / name_of(one.step)).exists()]
    best = [one.state.best.step for one in there if one.state is not None]
    return tuple(one.facts(best=best[-1] if best else None) for one in there)


@dataclass(frozen=True, slots=True)
class _Found:
    step: int
    num_bytes: int
    saved_at_ms: int
    state: TrainingState | None
    problem: str | None

    @classmethod
    def of(cls, path: Path, step: int) -> "_Found":
        try:
            manifest = read_manifest(path, step=step)
            return cls(
                step=step,
                num_bytes=sum(digest.num_bytes for digest in manifest.files.values()),
                saved_at_ms=int((path / MANIFEST).stat().st_mtime * 1000),
                state=read_state(path),
                problem=None,
            )
        except (ValueError, OSError) as error:
            return cls(step=step, num_bytes=0, saved_at_ms=0, state=None, problem=what_is_wrong(error))

    def facts(self, *, best: int | None) -> CheckpointFacts:
        return CheckpointFacts(
            step=self.step,
            path=name_of(self.step),
            num_bytes=self.num_bytes,
            saved_at_ms=self.saved_at_ms,
            metrics={} if self.state is None else dict(self.state.metrics),
            is_best=best is not None and self.step == best,
            problem=self.problem,
        )
