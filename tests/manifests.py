"""Manifests of artifacts as jobs leave them, with what a test says of them."""

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.manifest import ArtifactFile, ArtifactKind, HostFacts, Manifest, Revision

HOST = HostFacts(hostname="h", platform="p", python="3", cpu="c", cpu_count=1, gpus=(), memory_bytes=1)


def completed_manifest(
    kind: ArtifactKind,
    item_id: str,
    *files: ArtifactFile,
    revisions: tuple[Revision, ...] = (),
    spec: JsonObject | None = None,
    libraries: dict[str, str] | None = None,
) -> Manifest:
    """Of a run that has completed."""
    return Manifest(
        kind=kind,
        item_id=item_id,
        status="completed",
        created_at="2026-01-01T00:00:00Z",
        finished_at=None,
        spec=spec or {},
        resolved={},
        libraries=libraries or {},
        seed=1,
        git_commit=None,
        host=HOST,
        corpus=None,
        tokenizer_id=None,
        tokenizer_sha256=None,
        timings_seconds={},
        metrics={},
        problem=None,
        attempts=(),
        files=files,
        revisions=revisions,
    )
