"""manifest.json: seals an artifact folder, adds what later jobs leave, and says what no longer fits.

Knows folders and facts of this process, no kind of job.
"""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, runtime_checkable

from pydantic import JsonValue, ValidationError

import model_trainer
from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.compute.machine import cpu_model, hostname, physical_memory_bytes, usable_cpus
from model_trainer.core.contracts.base import Contract, as_json, type_json
from model_trainer.core.contracts.manifest import ArtifactFile, HostFacts, Manifest, Revision
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX, write_atomically
from model_trainer.core.stored_artifact import GROWING, listed_files

LIBRARIES = (
    "model-trainer",
    "numpy",
    "onnx",
    "onnxruntime",
    "pyarrow",
    "pydantic",
    "redis",
    "rq",
    "safetensors",
    "sentencepiece",
    "tokenizers",
    "torch",
    "transformers",
)
PACKAGE = Path(model_trainer.__file__).parent

Why = Literal["missing", "size", "digest", "unlisted"]


class Mismatch(Contract):
    """One file that is not as the manifest says."""

    path: str
    why: Why


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Writes manifest.json with every file of the folder and its digest; returns it as written.

    Close logs first, or seal again when they are closed. Temporary files and links are left out. Revisions that later
    jobs have added stay: an evaluation may end between the two seals of the run it evaluates.
    """
    with _locked(folder):
        before = read_manifest(folder) if (folder / MANIFEST).exists() else None
        sealed_now: dict[str, object] = {
            "files": tuple(_account_of(folder, name) for name in _file_names(folder)),
            "revisions": before.revisions if before is not None else (),
        }
        sealed = manifest.model_copy(update=sealed_now)
        _write(folder, sealed)
    return sealed


def seal_again(folder: Path, changes: Mapping[str, object]) -> Manifest:
    """Changes a manifest, and accounts for what has come since: a file that nobody has touched after the manifest was
    written keeps the digest it has there, so that gigabytes of checkpoints are not read once more.

    Raises ARTIFACT_CORRUPT when the folder has no readable manifest.
    """
    with _locked(folder):
        before = read_manifest(folder)
        written_ns = (folder / MANIFEST).stat().st_mtime_ns
        known = {file.path: file for file in before.files}
        files = tuple(
            known[name]
            if name in known and _is_untouched(folder / name, known[name], written_ns)
            else _account_of(folder, name)
            for name in _file_names(folder)
        )
        sealed_now: dict[str, object] = {**changes, "files": files}
        sealed = before.model_copy(update=sealed_now)
        _write(folder, sealed)
    return sealed


def append_revision(folder: Path, revision: Revision) -> Manifest:
    """Adds what a later job left to a sealed folder; a job that ends twice replaces what it had added.

    A revision without files gets those that lie in a folder named after the job: `eval/<job_id>/...`. Files that were
    sealed before keep their digests, but for those of the revision: they may have been half written then. Raises ARTIFACT_CORRUPT when the folder has no readable manifest.
    """
    with _locked(folder):
        manifest = read_manifest(folder)
        files = revision.files or tuple(
            _account_of(folder, name)
            for name in _file_names(folder)
            if revision.job_id in PurePosixPath(name).parent.parts
        )
        complete: dict[str, object] = {"files": files}
        others = tuple(each for each in manifest.revisions if each.job_id != revision.job_id)
        now = {file.path: file for file in files}
        changes: dict[str, object] = {
            "revisions": (*others, revision.model_copy(update=complete)),
            "files": tuple(now.get(file.path, file) for file in manifest.files),
        }
        revised = manifest.model_copy(update=changes)
        _write(folder, revised)
    return revised


def take_over(folder: Path, files: Sequence[ArtifactFile], theirs: Manifest) -> Manifest:
    """Lists files that have come from another copy of this artifact, and the later jobs that its account tells of.

    Raises ARTIFACT_CORRUPT when the folder has no readable manifest.
    """
    with _locked(folder):
        ours = read_manifest(folder)
        paths, known = {file.path for file in files}, {each.job_id for each in ours.revisions}
        listed = {file.path: file for file in ours.files}
        listed |= {file.path: file for file in theirs.files if file.path in paths}
        changes: dict[str, object] = {
            "files": tuple(listed[path] for path in sorted(listed)),
            "revisions": (*ours.revisions, *(each for each in theirs.revisions if each.job_id not in known)),
        }
        merged = ours.model_copy(update=changes)
        if merged != ours:
            _write(folder, merged)
    return merged


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact folder; raises ARTIFACT_CORRUPT when it is missing or damaged."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise AppError(
            ErrorCode.ARTIFACT_CORRUPT,
            "The manifest.json of this artifact is missing or damaged. Make it again.",
        ) from error


def verify(folder: Path) -> list[Mismatch]:
    """What is not as the manifest and its revisions say, sorted by path; raises as read_manifest() does."""
    manifest = read_manifest(folder)
    listed = {file.path: file for file in listed_files(manifest)}
    present = frozenset(_file_names(folder))
    found: list[Mismatch] = []
    for path in sorted(present | listed.keys()):
        if path in GROWING and path not in listed and manifest.status == "running":
            continue  # begun since: the run goes on
        why = _difference(folder / path, listed.get(path)) if path in present else "missing"
        if why is not None:
            found.append(Mismatch(path=path, why=why))
    return found


def library_versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Versions of those libraries that are installed."""
    versions: dict[str, str] = {}
    for name in names:
        # Not found: an extra that this installation does without.
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


class _Cuda(Protocol):
    def is_available(self) -> bool: ...
    def device_count(self) -> int: ...
    def get_device_name(self, device: int, /) -> str: ...


@runtime_checkable
class _WithCuda(Protocol):
    @property
    def cuda(self) -> _Cuda: ...


def host_facts(modules: Mapping[str, object] = sys.modules) -> HostFacts:
    """This machine. Accelerators are named only when the job has loaded torch: a tokenizer's does not."""
    torch = modules.get("torch")
    gpus: tuple[str, ...] = ()
    if isinstance(torch, _WithCuda) and torch.cuda.is_available():
        gpus = tuple(torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count()))
    return HostFacts(
        hostname=hostname(),
        platform=platform.platform(),
        python=platform.python_version(),
        cpu=cpu_model(),
        cpu_count=usable_cpus(),
        gpus=gpus,
        memory_bytes=physical_memory_bytes(),
    )


def git_commit(package: Path = PACKAGE, *, git: str = "git", timeout_seconds: float = 5.0) -> str | None:
    """The commit this code is of, `-dirty` behind it when tracked files differ; None where nobody knows.

    An image has it baked into the package (COMMIT); a checkout is asked, if it is the package's own and not just one
    that the package happens to lie in.
    """
    baked = package / "COMMIT"
    if baked.is_file():
        return baked.read_text().strip() or None
    program = shutil.which(git)
    if program is None:
        return None

    def answer(*arguments: str) -> str | None:
        return _output([program, *arguments], folder=package, timeout_seconds=timeout_seconds)

    if answer("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = answer("rev-parse", "--verify", "HEAD")
    changes = answer("status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if commit and changes else commit


def _output(command: list[str], *, folder: Path, timeout_seconds: float) -> str | None:
    try:
        ended = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None


def _account_of(folder: Path, name: str) -> ArtifactFile:
    """Size and digest of the same bytes: a log may grow while it is read."""
    digest, num_bytes = hashlib.sha256(), 0
    with (folder / name).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            num_bytes += len(block)
    return ArtifactFile(path=name, num_bytes=num_bytes, sha256=digest.hexdigest())


def _is_untouched(path: Path, known: ArtifactFile, since_ns: int) -> bool:
    """By the time of its last change, which unlike that of its last writing nobody can set."""
    found = path.stat()
    return found.st_size == known.num_bytes and found.st_ctime_ns < since_ns


def _file_names(folder: Path) -> list[str]:
    """Relative names of all regular files, sorted, but for the manifest itself."""
    names = (path.relative_to(folder).as_posix() for path in _walk(folder))
    return sorted(name for name in names if name != MANIFEST)


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name)
            elif entry.is_file(follow_symlinks=False):
                yield folder / entry.name


def _difference(path: Path, listed: ArtifactFile | None) -> Why | None:
    if listed is None:
        return "unlisted"
    num_bytes = path.stat().st_size
    if num_bytes != listed.num_bytes and (path.name not in GROWING or num_bytes < listed.num_bytes):
        return "size"
    return None if _sha256_of_start(path, listed.num_bytes) == listed.sha256 else "digest"


def _sha256_of_start(path: Path, num_bytes: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(min(num_bytes, 1 << 20)):
            digest.update(block)
            num_bytes -= len(block)
    return digest.hexdigest()


def _write(folder: Path, manifest: Manifest) -> None:
    """Sorted keys and a line end: the same facts are the same bytes."""
    text = type_json.dump_json(_sorted(as_json(manifest)), indent=2)
    write_atomically(folder / MANIFEST, text + b"\n")


def _sorted(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(each) for each in value]
    return value


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time: two evaluations of one model may end together. The lock leaves no file behind."""
    import fcntl  # here: Windows has none, and imports this file though it runs no jobs

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
