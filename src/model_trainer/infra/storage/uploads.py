"""Files that come in parts: a folder for each on this machine's disk, until they are whole."""

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pydantic import Field, ValidationError

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.files import NewUpload, Upload
from model_trainer.core.contracts.ids import is_ulid, new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors, fsync_folder, sha256_of, write_atomically
from model_trainer.infra.storage.run_locks import flock_at_once
from model_trainer.infra.storage.stores.content import write_all

UPLOADS_FOLDER = "uploads"
"""Under the artifacts root: what comes in parts."""
ARRIVALS_FOLDER = "arrivals"
"""Beside it: what comes in one request. Nobody goes on with it when that breaks."""
DATA_NAME = "data"
ABOUT_NAME = "upload.json"
READ_ONLY = 0o444
ANY_WRITE = 0o222


class _About(Contract):
    """upload.json"""

    announced: NewUpload
    created_at_ms: int = Field(ge=0)


class LocalUploads:
    """`<folder>/<upload_id>/{data,upload.json}`; an upload has come as far as its data are long.

    One sender at a time: a part holds a lock on the folder, which the kernel frees with the process that had it. Data that
    turned out to be whole are made read-only: the store may link such a file, so nothing is appended to it any more.
    """

    def __init__(self, folder: Path, *, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        """The folder is made with the first upload.

        Args:
            folder: for all uploads; on the store's disk, so that a whole one need not be copied.
            max_bytes: no upload becomes longer.
            clock: seconds since 1970.
        """
        self._folder = folder.absolute()
        self._max_bytes = max_bytes
        self._clock = clock

    def begin(self, new: NewUpload) -> Upload:
        """See Uploads. Raises REQUEST_TOO_LARGE, DISK_FULL."""
        if new.num_bytes is not None and new.num_bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        upload_id = new_ulid()
        about = _About(announced=new, created_at_ms=int(self._clock() * 1000))
        making = self._folder / f"{TEMPORARY_PREFIX}{upload_id}"
        try:
            with disk_errors(making):
                making.mkdir(parents=True)
                (making / DATA_NAME).touch()
                write_atomically(making / ABOUT_NAME, about.model_dump_json().encode())
                making.rename(self._folder / upload_id)
                fsync_folder(self._folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)  # there only when something above failed
        return self.find(upload_id)

    def find(self, upload_id: str) -> Upload:
        """See Uploads."""
        folder = self._folder_of(upload_id)
        try:
            about = _About.model_validate_json((folder / ABOUT_NAME).read_bytes())
            offset = (folder / DATA_NAME).stat().st_size
        except (OSError, ValidationError) as error:
            raise _no_upload(upload_id) from error
        return Upload(
            upload_id=upload_id,
            offset=offset,
            num_bytes=about.announced.num_bytes,
            sha256=about.announced.sha256,
            created_at_ms=about.created_at_ms,
        )

    def append(self, upload_id: str, *, offset: int) -> "LocalPart":
        """See Uploads."""
        with ExitStack() as opened:
            folder = opened.enter_context(self._held(upload_id))
            upload = self.find(upload_id)
            if not stat.S_IMODE(os.stat(DATA_NAME, dir_fd=folder).st_mode) & ANY_WRITE:
                raise _conflict(
                    "The upload is whole already. Complete it, or DELETE it and begin another.", upload
                )
            if upload.offset != offset:
                message = f"The upload stands at byte {upload.offset}, not {offset}: go on from there."
                raise _conflict(message, upload)
            descriptor = os.open(DATA_NAME, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW, dir_fd=folder)
            opened.callback(os.close, descriptor)
            limit = self._max_bytes if upload.num_bytes is None else upload.num_bytes
            return LocalPart(
                descriptor,
                offset=offset,
                limit=limit,
                opened=opened.pop_all(),
                ended=lambda: self.find(upload_id),
            )

    @contextmanager
    def whole(self, upload_id: str) -> Iterator[tuple[Path, str, int]]:
        """See Uploads. Memory does not grow with the file."""
        with self._held(upload_id), self._kept(upload_id):
            upload = self.find(upload_id)
            if upload.num_bytes is not None and upload.offset < upload.num_bytes:
                message = f"The upload has {upload.offset} of {upload.num_bytes} bytes: send the rest before you complete it."
                raise _conflict(message, upload)
            path = self._folder_of(upload_id) / DATA_NAME
            found = sha256_of(path)
            if upload.sha256 not in (None, found):
                self._throw_away(upload_id)
                raise AppError(
                    ErrorCode.DIGEST_MISMATCH,
                    f"The file that came has the SHA-256 {found}, not {upload.sha256} as announced: it was changed on its"
                    " way, and has been thrown away. Upload it again.",
                )
            path.chmod(READ_ONLY)
            yield path, found, upload.offset
            self._throw_away(upload_id)

    def abort(self, upload_id: str) -> None:
        """See Uploads. A part that is still coming finds out when it ends."""
        with self._kept(upload_id):
            self._throw_away(upload_id)

    def _throw_away(self, upload_id: str) -> None:
        going = self._folder / f"{TEMPORARY_PREFIX}{new_ulid()}"
        with suppress(FileNotFoundError):  # the clean-up was faster
            self._folder_of(upload_id).rename(going)
        shutil.rmtree(going, ignore_errors=True)  # what stays has a name that the clean-up knows

    def _folder_of(self, upload_id: str) -> Path:
        if not is_ulid(upload_id):
            raise _no_upload(upload_id)
        return self._folder / upload_id

    @contextmanager
    def _held(self, upload_id: str) -> Iterator[int]:
        """The open folder of an upload, locked: nobody else writes to it, and no clean-up takes it away."""
        message = "Another part of this upload is coming just now, or it is being completed. Send one part at a time."
        folder = self._folder_of(upload_id)
        with self._locked(upload_id, folder, os.O_DIRECTORY, refusal=message) as descriptor:
            yield descriptor

    @contextmanager
    def _kept(self, upload_id: str) -> Iterator[None]:
        """The data of an upload, locked: nobody aborts it. A part does without, so that who sent it can give it up before
        the server has missed a lost connection."""
        message = "The upload is being completed just now. Wait for its end, then DELETE /files/{file_id} if need be."
        with self._locked(upload_id, self._folder_of(upload_id) / DATA_NAME, 0, refusal=message):
            yield

    @contextmanager
    def _locked(self, upload_id: str, path: Path, flags: int, *, refusal: str) -> Iterator[int]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | flags)
        except OSError as error:
            raise _no_upload(upload_id) from error
        try:
            try:
                flock_at_once(descriptor, False)
            except BlockingIOError as error:
                raise _conflict(refusal, self.find(upload_id)) from error
            yield descriptor
        finally:
            os.close(descriptor)


class LocalPart:
    """A part of a LocalUploads' upload."""

    def __init__(
        self, descriptor: int, *, offset: int, limit: int, opened: ExitStack, ended: Callable[[], Upload]
    ) -> None:
        """
        Args:
            descriptor: of the data, open for appending.
            offset: where the part begins.
            limit: the upload may become so long.
            opened: what is closed with the part, the lock among it.
            ended: tells where the upload stands.
        """
        self._descriptor = descriptor
        self._num_bytes = offset
        self._limit = limit
        self._opened = opened
        self._ended = ended

    def write(self, data: bytes) -> None:
        """See Part. Of data that go beyond the limit nothing is written."""
        if self._num_bytes + len(data) > self._limit:
            raise _too_large(self._limit)
        with disk_errors(Path(DATA_NAME)):
            write_all(self._descriptor, data)
        self._num_bytes += len(data)

    def close(self) -> Upload:
        """See Part. Raises FILE_NOT_FOUND when the upload was aborted meanwhile."""
        with self._opened, disk_errors(Path(DATA_NAME)):
            os.fsync(self._descriptor)
        return self._ended()


def _no_upload(upload_id: str) -> AppError:
    return AppError(
        ErrorCode.FILE_NOT_FOUND,
        f"There is no upload {upload_id[:80]!r}: it was completed, aborted or given up. POST /files/uploads begins another.",
    )


def _conflict(message: str, upload: Upload) -> AppError:
    return AppError(ErrorCode.CONFLICT, message, facts={"offset": upload.offset})


def _too_large(limit: int) -> AppError:
    return AppError(
        ErrorCode.REQUEST_TOO_LARGE,
        f"The file is longer than {limit} bytes: what was announced for it, or what APP__MAX_FILE_BYTES allows.",
    )
