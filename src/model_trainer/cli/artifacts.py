"""Lists and fetches the files of an artifact."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from model_trainer.cli import rendering
from model_trainer.cli.session import Session
from model_trainer.client.views import ArtifactFileView, ArtifactView
from model_trainer.core.artifact_files import CHECKPOINTS
from model_trainer.core.contracts.base import as_json
from model_trainer.core.errors import AppError, ErrorCode


def list_artifact(session: Session, kind: Literal["models", "tokenizers"], item_id: str) -> None:
    """The files with sizes and digests."""
    with session.connect() as client:
        artifact = client.artifact(kind, item_id)
    session.output.show(as_json(artifact), render=lambda: rendering.artifact_table(artifact))


def get_artifact(
    session: Session,
    kind: Literal["models", "tokenizers"],
    item_id: str,
    *,
    paths: Sequence[str],
    folder: str,
) -> None:
    """Fetches the files named, or all but checkpoints, into `folder`; each is verified."""
    fetched: list[tuple[str, str]] = []
    with session.connect() as client:
        for file in wanted_files(client.artifact(kind, item_id), paths):
            target = target_of(file.path, Path(folder))
            session.output.note(f"{file.path} ({file.num_bytes:,} bytes)")
            found = client.download(kind, item_id, path=file.path, target=target, sha256=file.sha256)
            fetched.append((str(target), found))
    session.output.show(
        [{"path": path, "sha256": sha256} for path, sha256 in fetched],
        render=lambda: rendering.plain_table(
            "file", "sha256", rows=[(path, sha[:16]) for path, sha in fetched]
        ),
    )


def wanted_files(artifact: ArtifactView, paths: Sequence[str]) -> list[ArtifactFileView]:
    """Files by name; raises ARTIFACT_NOT_FOUND for a name that is not there."""
    if not paths:
        return [file for file in artifact.files if not file.path.startswith(f"{CHECKPOINTS}/")]
    by_path = {file.path: file for file in artifact.files}
    missing = [path for path in paths if path not in by_path]
    if missing:
        message = f"There is no {', '.join(missing)} in {artifact.kind}/{artifact.item_id}: `artifact list` shows what is."
        raise AppError(ErrorCode.ARTIFACT_NOT_FOUND, message)
    return [by_path[path] for path in paths]


def target_of(path: str, folder: Path) -> Path:
    """Where a file goes. A server that names a path outside the folder is not obeyed."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or any(sign in path for sign in ("\\", ":", "\0")):
        message = f"The server calls a file {path!r}; that name leads out of {folder}, so it is not fetched."
        raise AppError(ErrorCode.ARTIFACT_CORRUPT, message)
    return folder.joinpath(*parts)
