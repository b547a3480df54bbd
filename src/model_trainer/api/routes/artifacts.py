"""/artifacts: what a job left, file by file."""

from typing import Annotated

from fastapi import FastAPI, Path
from starlette.requests import Request
from starlette.responses import Response

from model_trainer.api.downloads import OpenFile, answer_download, answer_head, open_download
from model_trainer.api.places import manifest_of
from model_trainer.api.requests import parse_query
from model_trainer.api.routes.endpoints import ItemIdPath, add
from model_trainer.api.schemas.artifact import ArtifactFileView, ArtifactView, DownloadQuery
from model_trainer.api.streams import Streams
from model_trainer.container import Container
from model_trainer.core.contracts.base import JsonObject, as_json
from model_trainer.core.contracts.manifest import ArtifactKind, Manifest
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import open_regular

KindPath = Annotated[ArtifactKind, Path(description="What kind of artifact.")]
BYTES: JsonObject = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
DOWNLOAD: dict[int, JsonObject] = {
    200: {"description": "The file.", "content": BYTES},
    206: {"description": "The one byte range asked for.", "content": BYTES},
    304: {"description": "The version named by If-None-Match is still the one."},
}


class ArtifactRoutes:
    """Handlers of /artifacts."""

    def __init__(self, container: Container, streams: Streams) -> None:
        self._container = container
        self._streams = streams

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        add(
            app,
            "GET",
            "/artifacts/{kind}/{item_id}",
            self.get_artifact,
            operation_id="get_artifact",
            summary="The manifest and every file of an artifact",
            tag="artifacts",
            view=ArtifactView,
            problems=[404],
        )
        add(
            app,
            "GET",
            "/artifacts/{kind}/{item_id}/download",
            self.download,
            operation_id="download_file",
            summary="One file of an artifact, whole or one byte range",
            tag="artifacts",
            query=DownloadQuery,
            answers=DOWNLOAD,
            problems=[404, 416],
        )
        add(
            app,
            "HEAD",
            "/artifacts/{kind}/{item_id}/download",
            self.head,
            operation_id="head_file",
            summary="The headers of a download",
            tag="artifacts",
            query=DownloadQuery,
            problems=[404],
        )

    def get_artifact(self, kind: KindPath, item_id: ItemIdPath) -> ArtifactView:
        """`sha256` is null for files that no manifest has sealed yet."""
        with self._container.artifacts.use(kind, item_id) as folder:
            manifest = manifest_of(self._container.artifacts, kind, item_id)
            sealed = _sealed(manifest)
            files: list[ArtifactFileView] = []
            for name in self._container.artifacts.files(kind, item_id):
                size = (folder / name).stat().st_size
                files.append(ArtifactFileView(path=name, num_bytes=size, sha256=sealed.get((name, size))))
        return ArtifactView(
            kind=kind,
            item_id=item_id,
            status=None if manifest is None else manifest.status,
            files=tuple(files),
            manifest=None if manifest is None else as_json(manifest),
            links={"download": f"/artifacts/{kind}/{item_id}/download?path={{path}}"},
        )

    def download(self, request: Request, kind: KindPath, item_id: ItemIdPath) -> Response:
        """Honours Range (one range), If-Range and If-None-Match; the ETag is the SHA-256 of a sealed file."""
        return answer_download(self._open(request, kind, item_id), request.headers, streams=self._streams)

    def head(self, request: Request, kind: KindPath, item_id: ItemIdPath) -> Response:
        """As GET, without the bytes."""
        return answer_head(self._open(request, kind, item_id))

    def _open(self, request: Request, kind: ArtifactKind, item_id: str) -> OpenFile:
        wanted = parse_query(request, DownloadQuery).path
        artifacts = self._container.artifacts
        with artifacts.use(kind, item_id) as folder:  # until the file is open: then it may lose its name
            path = artifacts.file(kind, item_id, wanted)
            try:
                file = open_regular(path, below=folder)
            except AppError as error:
                # It was a regular file a moment ago.
                raise AppError(
                    ErrorCode.ARTIFACT_NOT_FOUND, f"The artifact has no file {wanted!r} any more."
                ) from error
            size = path.stat().st_size
            sha256 = _sealed(manifest_of(artifacts, kind, item_id)).get((wanted, size))
            return open_download(file, name=path.name, sha256=sha256)


def _sealed(manifest: Manifest | None) -> dict[tuple[str, int], str]:
    """Digests by name and size; a file that has another size now is not the one that was sealed."""
    if manifest is None:
        return {}
    later = [file for revision in manifest.revisions for file in revision.files]
    return {(file.path, file.num_bytes): file.sha256 for file in (*manifest.files, *later)}
