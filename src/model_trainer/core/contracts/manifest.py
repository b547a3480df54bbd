"""manifest.json: what was asked, what was chosen, what came out, every file with its digest."""

from typing import Literal

from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.corpus import CorpusDigest
from model_trainer.core.contracts.run import Attempt, Problem

ArtifactKind = Literal["models", "tokenizers"]
ManifestStatus = Literal["running", "completed", "failed", "cancelled"]


class ArtifactFile(Contract):
    """One file of an artifact."""

    path: str
    num_bytes: int
    sha256: str


class HostFacts(Contract):
    """Where it ran."""

    hostname: str
    platform: str
    python: str
    cpu: str
    cpu_count: int
    gpus: tuple[str, ...]
    memory_bytes: int


class Revision(Contract):
    """A later job's additions to a sealed artifact (an evaluation, a calibration, an export)."""

    job: str
    job_id: str
    created_at: str
    files: tuple[ArtifactFile, ...]


class Manifest(Contract):
    """The account of one artifact folder. `files` is sorted by path and leaves out the manifest itself."""

    schema_version: Literal[1] = 1
    installation_id: str | None = None
    """Who wrote it: a folder that another installation wrote is not resumed here."""
    kind: ArtifactKind
    item_id: str
    status: ManifestStatus
    created_at: str
    finished_at: str | None
    spec: JsonObject
    resolved: JsonObject
    """What every value left out became on this machine (a Recipe, or a tokenizer's own facts)."""
    libraries: dict[str, str]
    seed: int
    git_commit: str | None
    host: HostFacts
    corpus: CorpusDigest | None
    tokenizer_id: str | None
    tokenizer_sha256: str | None
    timings_seconds: dict[str, float]
    metrics: JsonObject
    problem: Problem | None
    attempts: tuple[Attempt, ...]
    files: tuple[ArtifactFile, ...]
    revisions: tuple[Revision, ...] = ()


class RunPointer(Contract):
    """The light manifest under the runs root: where a run's artifact lies and what became of it."""

    schema_version: Literal[1] = 1
    run_id: str
    kind: ArtifactKind
    status: str
    artifact_path: str
    """Relative to the artifacts root."""
    manifest_sha256: str | None
    user_id: str | None
    family: str
    created_at: str
    finished_at: str | None
    artifact_file_id: str | None = None
    """The record's; `artifact_path` may have left this machine when it is set."""
    stored_manifest_sha256: str | None = None
    """Which manifest was stored there; with another `manifest_sha256`, what has changed since is not stored yet."""
