"""The store in a bucket of any service that speaks S3, through obstore."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, TypedDict

from model_trainer.core.config.settings import S3Settings
from model_trainer.core.contracts.files import FilePage, StoredFile, is_file_id
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.stores.content import mismatch, not_found, pieces_of, unavailable, verified

FOLDER = "files/"
PART_BYTES = 8 * 1024 * 1024
MOST_PARTS = 9_000
"""S3 takes 10,000."""
PARTS_AT_ONCE = 4
SLOWEST_BYTES_PER_SECOND = 64 * 1024
"""Of a transfer; a slower one counts as broken off."""
NUM_RETRIES = 2
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
LISTED_AT_ONCE = 1_000

_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")


class ObjectFacts(TypedDict):
    """What the service knows of an object."""

    path: str
    last_modified: datetime
    size: int


class Objects(Protocol):
    """What is asked of the library; each call may raise whatever the library raises."""

    @property
    def error(self) -> type[Exception]:
        """What it raises, but for FileNotFoundError."""
        ...

    def head(self, key: str) -> ObjectFacts:
        """Raises FileNotFoundError."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """In one request."""
        ...

    def put_parts(self, key: str, pieces: Iterable[bytes], *, part_bytes: int) -> None:
        """In parts; whole or not at all, also when `pieces` raises."""
        ...

    def get(self, key: str, *, start: int, stop: int) -> bytes:
        """Some bytes; raises FileNotFoundError."""
        ...

    def delete(self, key: str) -> None:
        """Whether it is there or not."""
        ...

    def listed(self, folder: str, *, behind: str) -> Iterator[Sequence[ObjectFacts]]:
        """All behind a key, in order, some at a time."""
        ...


class S3Store:
    """`<prefix>/files/<file_id>`. Large files go and come in parts, so that memory does not grow with them.

    An upload that breaks off leaves no object; its parts are aborted, or, when the process has died, left to the bucket's
    own rule for incomplete uploads. One that is tried again begins anew, each of its requests having been tried thrice.
    """

    def __init__(self, objects: Objects, *, bucket: str, pid: Callable[[], int] = os.getpid) -> None:
        """Connects when something is first asked for.

        Args:
            objects: the bucket.
            bucket: its name, for messages.
            pid: names the process that it is used in.
        """
        self._pid = pid
        self._objects = objects
        self._bucket = bucket
        self._used_by: int | None = None

    @property
    def is_local(self) -> bool:
        """It is not."""
        return False

    def find(self, file_id: str) -> StoredFile | None:
        """See ArtifactStore."""
        if not is_file_id(file_id):
            return None
        with self._faults():
            try:
                return _stored(file_id, self._objects.head(FOLDER + file_id))
            except FileNotFoundError:
                return None

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        """See ArtifactStore."""
        if not is_file_id(file_id):
            raise mismatch(file_id)
        found = self.find(file_id)
        if found is not None and found.num_bytes == num_bytes:
            return found
        with path.open("rb") as file:
            pieces = verified(pieces_of(file, num_bytes=num_bytes), file_id=file_id, num_bytes=num_bytes)
            self._send(FOLDER + file_id, pieces, num_bytes=num_bytes)
        stored = self.find(file_id)
        if stored is None or stored.num_bytes != num_bytes:
            raise self._unavailable("what was uploaded is not what is there")
        return stored

    def read(self, file_id: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore. Raises FILE_NOT_FOUND, too, when the file is deleted meanwhile."""
        found = self.find(file_id)
        if found is None:
            raise not_found(file_id)
        end = found.num_bytes if stop is None else min(stop, found.num_bytes)
        for begin in range(start, end, PART_BYTES):
            stop_at = min(begin + PART_BYTES, end)
            with self._faults():
                try:
                    piece = self._objects.get(FOLDER + file_id, start=begin, stop=stop_at)
                except FileNotFoundError as error:
                    raise not_found(file_id) from error
            yield piece

    def delete(self, file_id: str) -> None:
        """See ArtifactStore."""
        if is_file_id(file_id):
            with self._faults():
                self._objects.delete(FOLDER + file_id)

    def list_files(self, *, prefix: str = "", after: str | None = None, limit: int) -> FilePage:
        """See ArtifactStore."""
        found: list[StoredFile] = []
        if is_file_id(prefix):
            # The service lists what lies behind a key, and a whole id does not lie behind itself.
            only = self.find(prefix) if after is None or after < prefix else None
            return FilePage(files=() if only is None else (only,), has_more=False)
        with self._faults():
            for some in self._objects.listed(FOLDER, behind=FOLDER + max(prefix, after or "")):
                for each in some:
                    file_id = each["path"].removeprefix(FOLDER)
                    if not is_file_id(file_id):
                        continue  # somebody else's
                    if not file_id.startswith(prefix):
                        return FilePage(files=tuple(found), has_more=False)
                    if len(found) == limit:
                        return FilePage(files=tuple(found), has_more=True)
                    found.append(_stored(file_id, each))
        return FilePage(files=tuple(found), has_more=False)

    def check(self) -> None:
        """See ArtifactStore."""
        self.list_files(limit=1)

    def _send(self, key: str, pieces: Iterator[bytes], *, num_bytes: int) -> None:
        with self._faults():
            if num_bytes <= PART_BYTES:
                self._objects.put(key, b"".join(pieces))
            else:
                part_bytes = max(PART_BYTES, -(-num_bytes // MOST_PARTS))
                self._objects.put_parts(key, pieces, part_bytes=part_bytes)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turns the library's errors into STORE_UNAVAILABLE. A FileNotFoundError that comes here says that the bucket is missing.

        The library has threads, and waits for ever in a process that was forked behind their back: this refuses there.
        """
        if self._used_by not in (None, self._pid()):
            message = "The store was used before this process was forked. Let only the forked process use it."
            raise AppError(ErrorCode.INTERNAL, message)
        self._used_by = self._pid()
        try:
            yield
        except (FileNotFoundError, self._objects.error) as error:
            raise self._unavailable(_detail(error)) from error

    def _unavailable(self, detail: str) -> AppError:
        message = (
            f"The bucket {self._bucket!r} cannot be used right now. Check STORE__S3__ENDPOINT, the bucket's name and region, and"
            " that the access key may read, write, list and delete there; then try again."
        )
        return unavailable(message, detail=detail)


class Bucket:
    """obstore behind the protocol."""

    def __init__(self, settings: S3Settings, *, timeout_seconds: float) -> None:
        """Raises CONFIG_INVALID when obstore is missing or does not take the settings.

        Args:
            settings: where the bucket is.
            timeout_seconds: for each answer.
        """
        try:
            import obstore  # here: it comes with an extra
            from obstore.exceptions import BaseError
            from obstore.store import S3Store as Connection
        except ImportError as error:
            message = "STORE__KIND=s3 needs the package obstore: pip install 'model-trainer[s3]'."
            raise AppError(ErrorCode.CONFIG_INVALID, message) from error
        self.error: type[Exception] = BaseError
        """See Objects."""
        self._library = obstore
        slow_seconds = timeout_seconds + PART_BYTES / SLOWEST_BYTES_PER_SECOND

        def connection(seconds: float) -> Connection:
            return Connection(
                settings.bucket,
                prefix=settings.prefix.strip("/") or None,
                config=_config(settings),
                client_options={
                    "allow_http": settings.allow_http,
                    "connect_timeout": timedelta(seconds=timeout_seconds),
                    "timeout": timedelta(seconds=seconds),
                },
                retry_config={
                    "max_retries": NUM_RETRIES,
                    "retry_timeout": timedelta(seconds=seconds),
                    "backoff": {
                        "init_backoff": timedelta(seconds=FIRST_PAUSE_SECONDS),
                        "max_backoff": timedelta(seconds=LONGEST_PAUSE_SECONDS),
                        "base": 2.0,
                    },
                },
            )

        try:
            self._brief = connection(timeout_seconds)
            self._slow = connection(slow_seconds)
        except (BaseError, ValueError) as error:
            message = (
                "The settings STORE__S3__* do not name a bucket that can be opened. Check the prefix first."
            )
            raise AppError(ErrorCode.CONFIG_INVALID, message, facts={"detail": _detail(error)}) from error

    def head(self, key: str) -> ObjectFacts:
        """See Objects."""
        found = self._library.head(self._brief, key)
        return ObjectFacts(path=found["path"], last_modified=found["last_modified"], size=found["size"])

    def put(self, key: str, data: bytes) -> None:
        """See Objects."""
        self._library.put(self._slow, key, data, use_multipart=False)

    def put_parts(self, key: str, pieces: Iterable[bytes], *, part_bytes: int) -> None:
        """See Objects."""
        self._library.put(
            self._slow, key, pieces, use_multipart=True, chunk_size=part_bytes, max_concurrency=PARTS_AT_ONCE
        )

    def get(self, key: str, *, start: int, stop: int) -> bytes:
        """See Objects."""
        return self._library.get_range(self._slow, key, start=start, end=stop).to_bytes()

    def delete(self, key: str) -> None:
        """See Objects."""
        self._library.delete(self._brief, key)

    def listed(self, folder: str, *, behind: str) -> Iterator[Sequence[ObjectFacts]]:
        """See Objects."""
        for some in self._library.list(
            self._brief, folder.strip("/"), offset=behind, chunk_size=LISTED_AT_ONCE
        ):
            yield [
                ObjectFacts(path=each["path"], last_modified=each["last_modified"], size=each["size"])
                for each in some
            ]


def _config(settings: S3Settings) -> dict[str, str]:
    """What was set goes before what the environment says to every S3 client; what was not is left to it."""
    config = {"region": settings.region, "checksum_algorithm": "sha256"}
    if settings.endpoint is not None:
        config["aws_endpoint_url_s3"] = settings.endpoint
    if settings.access_key_id is not None:
        config["access_key_id"] = settings.access_key_id
    if settings.secret_access_key is not None:
        config["secret_access_key"] = settings.secret_access_key.get_secret_value()
    return config


def _stored(file_id: str, found: ObjectFacts) -> StoredFile:
    return StoredFile(
        file_id=file_id,
        num_bytes=found["size"],
        stored_at_ms=round(found["last_modified"].timestamp() * 1000),
    )


def _detail(error: Exception) -> str:
    """What the service said, by its code alone: whole messages may quote what was sent."""
    said = _CODE.search(str(error)) or _STATUS.search(str(error))
    return type(error).__name__ if said is None else f"{type(error).__name__}: {said[1]}"
