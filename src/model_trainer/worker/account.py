"""What a job learns about its artifact on the way, and the manifest it becomes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import assert_never

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.corpus import CorpusDigest
from model_trainer.core.contracts.manifest import ArtifactKind, Manifest, ManifestStatus, Revision, RunPointer
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError
from model_trainer.core.files import sha256_of
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.worker.manifests import (
    append_revision,
    git_commit,
    host_facts,
    library_versions,
    read_manifest,
    seal,
    seal_again,
)
from model_trainer.worker.storing import StoredArtifact

log = get_logger(__name__)


class ArtifactAccount:
    """Collects facts during one job; `write` turns them into manifest.json and the run's pointer."""

    def __init__(self, *, kind: ArtifactKind, record: RunRecord, seed: int, folder: Path) -> None:
        self.folder = folder
        self.kind = kind
        self.resolved: JsonObject = {}
        self.metrics: JsonObject = {}
        self.corpus: CorpusDigest | None = None
        self.tokenizer_id: str | None = None
        self.tokenizer_sha256: str | None = None
        self._timings: dict[str, float] = {}
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

    def seal_done(self, record: RunRecord, artifacts: ArtifactTree) -> None:
        """Seals the folder of a job that has done its work, although its record still says running: a complete manifest
        on disk comes first, and the record follows."""
        self._seal(record, "completed", artifacts)

    def seal_as_recorded(self, record: RunRecord, artifacts: ArtifactTree) -> None:
        """Seals the folder with the status of its record."""
        self._seal(record, _manifest_status(record.status), artifacts)

    def seal_meanwhile(self, record: RunRecord, artifacts: ArtifactTree) -> None:
        """Brings the manifest of a run that goes on later up to date. What the account could not say for want of space, or
        because it had not been opened yet, the next worker will."""
        if not (self.folder / MANIFEST).exists():
            return
        try:
            seal_again(self.folder, {"timings_seconds": self._rounded_timings()})
            point_to(record, artifacts, kind=self.kind)
        except (AppError, OSError) as error:
            log.warning("account_not_sealed", detail=str(error))

    def _seal(self, record: RunRecord, status: ManifestStatus, artifacts: ArtifactTree) -> None:
        seal(self.folder, self._manifest(record, status, installation_id=artifacts.installation_id()))
        point_to(record, artifacts, kind=self.kind)

    def _manifest(self, record: RunRecord, status: ManifestStatus, *, installation_id: str) -> Manifest:
        return Manifest(
            installation_id=installation_id,
            kind=self.kind,
            item_id=self._run_id,
            status=status,
            created_at=iso_time(record.created_at_ms),
            finished_at=None if status == "running" else _finished_at(record),
            spec=self._spec,
            resolved=self.resolved,
            libraries=library_versions(),
            seed=self._seed,
            git_commit=git_commit(),
            host=host_facts(),
            corpus=self.corpus,
            tokenizer_id=self.tokenizer_id,
            tokenizer_sha256=self.tokenizer_sha256,
            timings_seconds=self._rounded_timings(),
            metrics=self.metrics,
            problem=record.problem,
            attempts=record.attempts,
            files=(),
        )

    def _rounded_timings(self) -> dict[str, float]:
        return {name: round(seconds, 3) for name, seconds in self._timings.items()}


def close_account(record: RunRecord, artifacts: ArtifactTree) -> None:
    """Seals the folder of a run that ended without its worker: what its manifest knew, with the end its record tells.

    Without a manifest little is known: the worker had gone before it had read the corpus.
    """
    kind: ArtifactKind = "tokenizers" if record.kind is RunKind.TOKENIZER else "models"
    folder = artifacts.folder(kind, record.run_id)
    if not (folder / MANIFEST).exists():
        account = ArtifactAccount(kind=kind, record=record, seed=_seed_of(record), folder=folder)
        account.seal_as_recorded(record, artifacts)
        return
    ended = {
        "status": _manifest_status(record.status),
        "finished_at": _finished_at(record),
        "problem": record.problem,
        "attempts": record.attempts,
    }
    seal_again(folder, ended)
    point_to(record, artifacts, kind=kind)


_JOBS = {
    RunKind.EVALUATE: "evaluate_model",
    RunKind.CALIBRATE: "calibrate_model",
    RunKind.EXPORT: "export_model",
}
"""Jobs on a trained model, as its manifest names them."""


def close_evaluation(record: RunRecord, artifacts: ArtifactTree, *, evaluated: RunRecord) -> None:
    """Lists what a job on a trained model left in the model's manifest, with new digests for the files it replaced there;
    doing it twice changes nothing more."""
    folder = artifacts.folder("models", evaluated.run_id)
    if record.kind is not RunKind.EVALUATE:  # which replaces nothing
        seal_again(folder, {})
    revision = Revision(
        job=_JOBS[record.kind],
        job_id=record.run_id,
        created_at=iso_time(record.finished_at_ms or record.updated_at_ms),
        files=(),
    )
    append_revision(folder, revision)
    point_to(evaluated, artifacts, kind="models")


def point_to(
    record: RunRecord, artifacts: ArtifactTree, *, kind: ArtifactKind, stored: StoredArtifact | None = None
) -> None:
    """Writes the run's pointer under the runs root: where its artifact lies, which manifest is meant, and where it is
    stored; left out, what was known of that stays."""
    folder = artifacts.folder(kind, record.run_id)
    manifest = read_manifest(folder)
    pointer = RunPointer(
        run_id=record.run_id,
        kind=kind,
        status=manifest.status,
        artifact_path=f"{kind}/{record.run_id}",
        manifest_sha256=sha256_of(folder / MANIFEST),
        user_id=record.user_id,
        family=record.family,
        created_at=iso_time(record.created_at_ms),
        finished_at=manifest.finished_at,
        artifact_file_id=None if stored is None else stored.file_id,
        stored_manifest_sha256=None if stored is None else stored.manifest_sha256,
    )
    artifacts.write_pointer(pointer)


def _seed_of(record: RunRecord) -> int:
    seed = record.spec.get("seed")
    return seed if isinstance(seed, int) else 0


def iso_time(milliseconds: int) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat(timespec="milliseconds")


def _finished_at(record: RunRecord) -> str:
    return iso_time(record.finished_at_ms or int(time.time() * 1000))


def _manifest_status(status: RunStatus) -> ManifestStatus:
    match status:
        case RunStatus.FAILED:
            return "failed"
        case RunStatus.CANCELLED:
            return "cancelled"
        case RunStatus.COMPLETED:
            return "completed"
        case RunStatus.QUEUED | RunStatus.RUNNING | RunStatus.PAUSED | RunStatus.CANCELLING:
            return "running"
        case _:
            assert_never(status)
