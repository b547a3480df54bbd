"""An artifact as one tar archive, and the way back, which trusts no archive.

Written plainly: manifest first, then the files by path, no compression, no times, no owners; the same artifact is the same bytes.
Read header by header: regular files alone, only those that the manifest names, each of exactly its size and digest. Whatever
else tar can say (links, devices, long names, sparse files, extensions) is refused before anything is made of it.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import disk_errors
from model_trainer.core.stored_artifact import MOST_MANIFEST_BYTES, StoredForm, corrupt, stored_form

BLOCK = tarfile.BLOCKSIZE
PIECE_BYTES = 1024 * 1024
END = bytes(2 * BLOCK)
_MOST_PLAIN_BYTES = 8**11
"""A larger size takes GNU's way to write it."""
_MODE = 0o644


def pack(form: StoredForm, folder: Path, target: BinaryIO) -> tuple[str, int]:
    """Writes the archive of an artifact folder; its SHA-256 and its size.

    Raises ARTIFACT_CORRUPT when a file is not as the manifest says, CONFIG_INVALID for a name that tar cannot carry, DISK_FULL.
    """
    digest, num_bytes = hashlib.sha256(), 0
    for piece in _pieces(form, folder):
        with disk_errors(folder):
            target.write(piece)
        digest.update(piece)
        num_bytes += len(piece)
    return digest.hexdigest(), num_bytes


def unpack(blocks: Iterator[bytes], folder: Path, *, kind: ArtifactKind, item_id: str) -> StoredForm:
    """Writes the files of an archive into an empty folder, the manifest last; its form.

    Memory does not grow with the archive. Raises ARTIFACT_CORRUPT for an archive that pack() has not made of this item, and DISK_FULL.
    What it had written by then is the caller's to remove.
    """
    source = _Source(blocks)
    size = _header(source, MANIFEST)
    if size > MOST_MANIFEST_BYTES:
        raise corrupt("its manifest is too large")
    manifest_bytes = b"".join(source.file(size))
    form = stored_form(manifest_bytes, kind=kind, item_id=item_id)
    for file in form.files:
        if _header(source, file.path) != file.num_bytes:
            raise corrupt(f"{file.path!r} is not as long in the archive as its manifest says")
        write_verified(
            folder / file.path, source.file(file.num_bytes), sha256=file.sha256, num_bytes=file.num_bytes
        )
    if source.read(len(END)) != END or not source.is_at_end():
        raise corrupt("more follows in the archive than its manifest names")
    write_verified(
        folder / MANIFEST, iter([manifest_bytes]), sha256=form.manifest_sha256, num_bytes=len(manifest_bytes)
    )
    return form


def write_verified(path: Path, pieces: Iterator[bytes], *, sha256: str, num_bytes: int) -> None:
    """Writes a new file, durably; raises ARTIFACT_CORRUPT, as soon as it is known, when it is not the one that was asked
    for, and DISK_FULL."""
    digest, written = hashlib.sha256(), 0
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for piece in pieces:
                written += len(piece)
                if written > num_bytes:
                    break
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    if written != num_bytes or digest.hexdigest() != sha256:
        raise corrupt(f"{path.name!r} has another content than its manifest says")


def _pieces(form: StoredForm, folder: Path) -> Iterator[bytes]:
    yield _header_of(MANIFEST, len(form.manifest_bytes))
    yield form.manifest_bytes
    yield _padding(len(form.manifest_bytes))
    for file in form.files:
        yield _header_of(file.path, file.num_bytes)
        digest, missing = hashlib.sha256(), file.num_bytes
        with _opened(folder, file.path) as source:
            while piece := source.read(min(PIECE_BYTES, missing)):
                digest.update(piece)
                missing -= len(piece)
                yield piece
        if missing or digest.hexdigest() != file.sha256:
            raise changed(file.path)
        yield _padding(file.num_bytes)
    yield END


def _opened(folder: Path, path: str) -> BinaryIO:
    try:
        return (folder / path).open("rb")
    except FileNotFoundError as error:
        raise changed(path) from error


def changed(path: str) -> AppError:
    """A file of an artifact folder that does not fit its manifest any more."""
    message = f"{path!r} of this artifact is not what its manifest says any more. Restore it, or make the artifact again."
    return AppError(ErrorCode.ARTIFACT_CORRUPT, message)


def _header_of(name: str, num_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = num_bytes, _MODE
    try:
        plain = num_bytes < _MOST_PLAIN_BYTES
        header = info.tobuf(tarfile.USTAR_FORMAT) if plain else info.tobuf(tarfile.GNU_FORMAT)
    except (
        ValueError
    ):  # a name that USTAR has no room for; GNU's way around it is an extension, which we do not read
        header = b""
    if len(header) != BLOCK:
        message = f"The name {name[:80]!r} is too long for a tarball. Use STORE__LAYOUT=files."
        raise AppError(ErrorCode.CONFIG_INVALID, message)
    return header


def _header(source: "_Source", name: str) -> int:
    """The size of the next member, which must be the regular file `name`."""
    block = source.read(BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise corrupt("its archive is cut short, or no tar archive") from error
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.name != name or info.size < 0:
        raise corrupt(f"its archive has {info.name[:80]!r} where the regular file {name!r} belongs")
    return info.size


def _padding(num_bytes: int) -> bytes:
    return bytes(-num_bytes % BLOCK)


class _Source:
    """Blocks of any length, read in the lengths that are needed."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = filter(None, blocks)
        self._held = b""

    def read(self, num_bytes: int) -> bytes:
        """So many bytes, fewer only at the end; for short reads."""
        return b"".join(self._up_to(num_bytes))

    def file(self, num_bytes: int) -> Iterator[bytes]:
        """The content of a member, piece by piece, its padding left out."""
        yield from self._up_to(num_bytes)
        self.read(len(_padding(num_bytes)))

    def is_at_end(self) -> bool:
        """Whether nothing follows."""
        return not self.read(1)

    def _up_to(self, num_bytes: int) -> Iterator[bytes]:
        missing = num_bytes
        while missing > 0:
            self._held = self._held or next(self._blocks, b"")
            if not self._held:
                return
            piece, self._held = self._held[:missing], self._held[missing:]
            missing -= len(piece)
            yield piece
