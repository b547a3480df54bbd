"""An artifact folder as the API shows it."""

from typing import Annotated

from pydantic import Field

from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.manifest import ArtifactKind


class ArtifactFileView(Contract):
    """One file; `sha256` is known once a manifest has sealed it."""

    path: str
    num_bytes: int
    sha256: str | None


class ArtifactView(Contract):
    """What lies in one artifact folder now."""

    kind: ArtifactKind
    item_id: str
    status: str | None
    """As in the manifest; null while there is none."""
    files: tuple[ArtifactFileView, ...]
    manifest: JsonObject | None
    links: dict[str, str]


class DownloadQuery(Contract):
    """Which file."""

    path: Annotated[str, Field(min_length=1, max_length=1024)]
    """Relative to the artifact, as its listing names it."""
