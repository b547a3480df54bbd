"""What a job learns about its artifact on the way, and the manifest it becomes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import assert_never

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.corpus import CorpusDigest
from model_trainer.core.contracts.manifest import ArtifactKind, Manifest, ManifestStatus, RunPointer
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus
from model_trainer.core.files import sha256_of
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.worker.manifests import (
    MANIFEST_FILE,
    git_commit,
    host_facts,
    library_versions,
    read_manifest,
    seal,
)


class ArtifactAccount:
    """Collects facts during one job; `write` turns them into manifest.json and the run's pointer."""

    def __init__(self, *, kind: ArtifactKind, record: RunRecord, seed: int, folder: Path) -> None:
        self.folder = folder
        self.resolved: JsonObject = {}
        self.metrics: JsonObject = {}
        self.corpus: CorpusDigest | None = None
        self.tokenizer_id: str | None = None
        self.tokenizer_sha256: str | None = None
        self._timings: dict[str, float] = {}
        self._kind = kind
        self._run_id = record.run_id
        self._spec = record.spec
        self._seed = seed

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the seconds of the with-block to the timings."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._timings[name] = self._timings.get(name, 0.0) + time.monotonic() - began

    def write(self, record: RunRecord, artifacts: ArtifactTree) -> Manifest:
        """Seals the folder as the record stands now, and points to it from the runs root.

        A job that has done its work writes it first with its record still running: a complete manifest on disk is the
        point after which a run counts as done, and the record follows.
        """
        status: ManifestStatus = _manifest_status(record.status)
        manifest = seal(self.folder, self._manifest(record, status))
        pointer = RunPointer(
            run_id=self._run_id,
            kind=self._kind,
            status=status,
            artifact_path=f"{self._kind}/{self._run_id}",
            manifest_sha256=sha256_of(self.folder / "manifest.json"),
            user_id=record.user_id,
            family=record.family,
            created_at=iso_time(record.created_at_ms),
            finished_at=manifest.finished_at,
        )
        artifacts.write_pointer(pointer)
        return manifest

    def _manifest(self, record: RunRecord, status: ManifestStatus) -> Manifest:
        return Manifest(
            kind=self._kind,
            item_id=self._run_id,
            status=status,
            created_at=iso_time(record.created_at_ms),
            finished_at=iso_time(record.finished_at_ms or int(time.time() * 1000)),
            spec=self._spec,
            resolved=self.resolved,
            libraries=library_versions(),
            seed=self._seed,
            git_commit=git_commit(),
            host=host_facts(),
            corpus=self.corpus,
            tokenizer_id=self.tokenizer_id,
            tokenizer_sha256=self.tokenizer_sha256,
            timings_seconds={name: round(seconds, 3) for name, seconds in self._timings.items()},
            metrics=self.metrics,
            problem=record.problem,
            attempts=record.attempts,
            files=(),
        )


def close_account(record: RunRecord, artifacts: ArtifactTree) -> None:
    """Seals the folder of a run that ended without its worker: what its last manifest knew, as far as there is one,
    with the end that its record tells."""
    kind: ArtifactKind = "tokenizers" if record.kind is RunKind.TOKENIZER else "models"
    folder = artifacts.folder(kind, record.run_id)
    account = ArtifactAccount(kind=kind, record=record, seed=_seed_of(record), folder=folder)
    if (folder / MANIFEST_FILE).exists():
        known = read_manifest(folder)
        account.resolved, account.metrics, account.corpus = known.resolved, known.metrics, known.corpus
        account.tokenizer_id, account.tokenizer_sha256 = known.tokenizer_id, known.tokenizer_sha256
    account.write(record, artifacts)


def _seed_of(record: RunRecord) -> int:
    seed = record.spec.get("seed")
    return seed if isinstance(seed, int) else 0


def iso_time(milliseconds: int) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat(timespec="milliseconds")


def _manifest_status(status: RunStatus) -> ManifestStatus:
    match status:
        case RunStatus.FAILED:
            return "failed"
        case RunStatus.CANCELLED:
            return "cancelled"
        case RunStatus.COMPLETED | RunStatus.RUNNING | RunStatus.CANCELLING:
            return "completed"
        case RunStatus.QUEUED | RunStatus.PAUSED:  # handed back: the folder is not the last word
            return "running"
        case _:
            assert_never(status)
