"""The S3 store before a bucket that does what a test wants, and what obstore itself says."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import obstore.exceptions
import pytest
from pydantic import SecretStr

from model_trainer.core.config.settings import S3Settings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.stores.s3 import MOST_PARTS, PART_BYTES, Bucket, ObjectFacts, S3Store
from tests.contract.artifact_stores import digest_of, write

ABSENT = "0" * 64
SECRET = "s3-secret-battery-staple"
SETTINGS = S3Settings(
    bucket="models",
    endpoint="http://127.0.0.1:1",
    access_key_id="key",
    secret_access_key=SecretStr(SECRET),
    allow_http=True,
)
FOREIGN = [
    error
    for error in vars(obstore.exceptions).values()
    if isinstance(error, type) and issubclass(error, Exception)
]


class FakeBucket:
    """Objects in a dictionary; each verb can be made to fail."""

    error: type[Exception] = Bucket(SETTINGS, timeout_seconds=1.0).error

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fails: Exception | None = None
        self.part_bytes: list[int] = []
        self.keeps: int | None = None
        """So many bytes of what is put; None: all. -1: not even its name."""

    def head(self, key: str) -> ObjectFacts:
        self._maybe_fail()
        return self._facts(key)

    def put(self, key: str, data: bytes) -> None:
        self._maybe_fail()
        if self.keeps != -1:
            self.objects[key] = data[: self.keeps]

    def put_parts(self, key: str, pieces: Iterable[bytes], *, part_bytes: int) -> None:
        self.part_bytes.append(part_bytes)
        self.objects[key] = b"".join(pieces)

    def get(self, key: str, *, start: int, stop: int) -> bytes:
        self._maybe_fail()
        if key not in self.objects:
            raise FileNotFoundError(key)
        return self.objects[key][start:stop]

    def delete(self, key: str) -> None:
        self._maybe_fail()
        del self.objects[key]

    def listed(self, folder: str, *, behind: str) -> Iterator[Sequence[ObjectFacts]]:
        self._maybe_fail()
        yield [self._facts(key) for key in sorted(self.objects) if key.startswith(folder) and key > behind]

    def _facts(self, key: str) -> ObjectFacts:
        if key not in self.objects:
            raise FileNotFoundError(key)
        return ObjectFacts(
            path=key, last_modified=datetime(2026, 1, 2, tzinfo=UTC), size=len(self.objects[key])
        )

    def _maybe_fail(self) -> None:
        if self.fails is not None:
            raise self.fails


def fault_of(action: Callable[[], object]) -> AppError:
    with pytest.raises(AppError) as caught:
        action()
    return caught.value


def calls(store: S3Store, path: Path) -> list[Callable[[], object]]:
    return [
        lambda: store.find(ABSENT),
        lambda: store.put(path, file_id=digest_of(b"hello"), num_bytes=5),
        lambda: list(store.read(ABSENT)),
        lambda: store.delete(ABSENT),
        lambda: store.list_files(limit=3),
        store.check,
    ]


def test_it_is_not_local() -> None:
    assert not S3Store(FakeBucket(), bucket="models").is_local


def test_the_list_of_the_librarys_errors_is_not_empty() -> None:
    assert len(FOREIGN) > 8


@pytest.mark.parametrize("foreign", FOREIGN)
def test_every_error_of_the_library_is_ours_at_the_edge(tmp_path: Path, foreign: type[Exception]) -> None:
    bucket = FakeBucket()
    path, _, _ = write(tmp_path / "source", b"hello")
    bucket.fails = foreign(f"said with {SECRET}: status code: 403 Forbidden <Code>AccessDenied</Code>")

    for call in calls(S3Store(bucket, bucket="models"), path):
        fault = fault_of(call)
        assert fault.code is ErrorCode.STORE_UNAVAILABLE
        assert "'models'" in fault.message
        assert fault.facts["detail"] == f"{foreign.__name__}: AccessDenied"
        assert SECRET not in f"{fault.message} {fault.facts}"


@pytest.mark.parametrize(
    ("said", "detail"),
    [("status code: 503 Slow down", "BaseError: 503"), ("error sending request", "BaseError")],
)
def test_what_was_said_is_told_by_its_code(said: str, detail: str) -> None:
    bucket = FakeBucket()
    bucket.fails = obstore.exceptions.BaseError(said)

    assert fault_of(S3Store(bucket, bucket="models").check).facts["detail"] == detail


@pytest.mark.parametrize("number", [3, 4])
def test_a_bucket_that_is_missing_when_something_is_deleted_or_listed_is_told(
    tmp_path: Path, number: int
) -> None:
    bucket = FakeBucket()
    bucket.fails = FileNotFoundError("<Code>NoSuchBucket</Code>")

    fault = fault_of(calls(S3Store(bucket, bucket="models"), tmp_path)[number])

    assert fault.code is ErrorCode.STORE_UNAVAILABLE
    assert fault.facts["detail"] == "FileNotFoundError: NoSuchBucket"


@pytest.mark.parametrize("keeps", [-1, 4])
def test_an_upload_that_was_acknowledged_but_is_not_there_is_no_success(tmp_path: Path, keeps: int) -> None:
    bucket = FakeBucket()
    bucket.keeps = keeps
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")

    fault = fault_of(lambda: S3Store(bucket, bucket="models").put(path, file_id=file_id, num_bytes=num_bytes))

    assert fault.code is ErrorCode.STORE_UNAVAILABLE


def test_a_file_of_another_length_is_put_anew(tmp_path: Path) -> None:
    bucket = FakeBucket()
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    bucket.objects[f"files/{file_id}"] = b"hell"

    S3Store(bucket, bucket="models").put(path, file_id=file_id, num_bytes=num_bytes)

    assert bucket.objects[f"files/{file_id}"] == b"hello"


def test_a_file_that_is_deleted_between_two_pieces_is_missed() -> None:
    bucket = FakeBucket()
    file_id = digest_of(b"whatever")
    bucket.objects[f"files/{file_id}"] = bytes(PART_BYTES + 1)
    reading = S3Store(bucket, bucket="models").read(file_id)
    next(reading)
    bucket.objects.clear()

    assert fault_of(lambda: next(reading)).code is ErrorCode.FILE_NOT_FOUND


def test_large_files_go_in_parts_that_are_not_too_many(tmp_path: Path) -> None:
    bucket = FakeBucket()
    store = S3Store(bucket, bucket="models")
    path = tmp_path / "large"
    huge = PART_BYTES * MOST_PARTS + 1

    path.write_bytes(bytes(PART_BYTES + 1))
    store.put(path, file_id=digest_of(path.read_bytes()), num_bytes=PART_BYTES + 1)
    with pytest.raises(AppError):  # the file is not that large, but it would have gone so
        store.put(path, file_id=ABSENT, num_bytes=huge)

    assert bucket.part_bytes == [PART_BYTES, PART_BYTES + 1]


def test_a_forked_process_is_told_that_it_cannot_use_what_its_parent_used() -> None:
    pids = [1]
    used, unused = (S3Store(FakeBucket(), bucket="models", pid=lambda: pids[0]) for _ in range(2))
    used.check()

    pids[0] = 2

    assert fault_of(used.check).code is ErrorCode.INTERNAL
    unused.check()
    pids[0] = 1
    used.check()


@pytest.mark.parametrize("prefix", ["a//b", "a/../b", "."])
def test_settings_that_the_library_does_not_take_are_refused(prefix: str) -> None:
    fault = fault_of(lambda: Bucket(SETTINGS.model_copy(update={"prefix": prefix}), timeout_seconds=1.0))

    assert fault.code is ErrorCode.CONFIG_INVALID
    assert "STORE__S3__" in fault.message


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)

    fault = fault_of(lambda: Bucket(SETTINGS, timeout_seconds=1.0))

    assert fault.code is ErrorCode.CONFIG_INVALID
    assert "model-trainer[s3]" in fault.message
