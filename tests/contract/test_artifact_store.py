"""Every artifact store answers this way: on disk, in memory, in a bucket (moto's server), in a data bank (our own API)."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import sha256_of
from model_trainer.core.ports.store import ArtifactStore
from tests.contract.artifact_stores import (
    KINDS,
    ArtifactStoreUnderTest,
    DatabankServer,
    S3Server,
    digest_of,
    local_store,
    memory_store,
    put,
    write,
)
from tests.contract.refusals import code_of
from tests.contract.reopened import databank_store, s3_store

MEBIBYTE = 1024 * 1024
ABSENT = "0" * 64
NO_IDS = ["", "0" * 63, "0" * 65, "A" * 64, "../" + "0" * 61, "0" * 64 + "\n", "é" * 64]


@pytest.fixture(params=KINDS)
def under_test(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStoreUnderTest:
    def s3() -> ArtifactStoreUnderTest:
        server: S3Server = request.getfixturevalue("s3_server")
        bucket = server.make_bucket()
        return ArtifactStoreUnderTest(
            store=s3_store(server.port, bucket=bucket),
            left_behind=lambda: server.contents(bucket),
            how=("s3", str(server.port), bucket),
        )

    def data_bank() -> ArtifactStoreUnderTest:
        server: DatabankServer = request.getfixturevalue("databank")
        server.empty()
        return ArtifactStoreUnderTest(
            store=databank_store(server.port),
            left_behind=server.contents,
            how=("databank", str(server.port)),
        )

    made: dict[str, Callable[[], ArtifactStoreUnderTest]] = {
        "local": lambda: local_store(tmp_path / "store"),
        "memory": memory_store,
        "s3": s3,
        "databank": data_bank,
    }
    return made[request.param]()


@pytest.fixture
def store(under_test: ArtifactStoreUnderTest) -> ArtifactStore:
    return under_test.store


def bytes_of(store: ArtifactStore, file_id: str, *, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(store.read(file_id, start=start, stop=stop))


def test_what_was_put_is_found_and_read_back(store: ArtifactStore, tmp_path: Path) -> None:
    before_ms = int(time.time()) * 1000

    stored = put(store, tmp_path, b"hello")

    assert stored.file_id == digest_of(b"hello")
    assert stored.num_bytes == 5
    assert before_ms <= stored.stored_at_ms <= time.time() * 1000 + 1000
    assert store.find(stored.file_id) == stored
    assert bytes_of(store, stored.file_id) == b"hello"


def test_an_empty_file_is_a_file(store: ArtifactStore, tmp_path: Path) -> None:
    stored = put(store, tmp_path, b"")

    assert stored.num_bytes == 0
    assert store.find(stored.file_id) == stored
    assert bytes_of(store, stored.file_id) == b""


def test_what_was_never_put_is_not_there(store: ArtifactStore) -> None:
    assert store.find(ABSENT) is None
    assert code_of(lambda: bytes_of(store, ABSENT)) is ErrorCode.FILE_NOT_FOUND
    store.delete(ABSENT)


@pytest.mark.parametrize("text", NO_IDS)
def test_what_is_no_id_is_never_there(under_test: ArtifactStoreUnderTest, tmp_path: Path, text: str) -> None:
    store = under_test.store
    path, _, num_bytes = write(tmp_path / "source", b"hello")

    assert store.find(text) is None
    assert code_of(lambda: bytes_of(store, text)) is ErrorCode.FILE_NOT_FOUND
    assert code_of(lambda: store.put(path, file_id=text, num_bytes=num_bytes)) is ErrorCode.DIGEST_MISMATCH
    store.delete(text)
    assert under_test.left_behind() == []


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (0, 4, b"0123"),
        (3, 4, b"3"),
        (3, 3, b""),
        (5, 2, b""),
        (9, 1000, b"9"),
        (10, None, b""),
        (11, 20, b""),
    ],
)
def test_any_range_of_a_file_can_be_read(
    store: ArtifactStore, tmp_path: Path, start: int, stop: int | None, expected: bytes
) -> None:
    stored = put(store, tmp_path, b"0123456789")

    assert bytes_of(store, stored.file_id, start=start, stop=stop) == expected


def test_a_large_file_comes_back_in_pieces_bit_by_bit(store: ArtifactStore, tmp_path: Path) -> None:
    data = os.urandom(MEBIBYTE) * 17 + b"the end"

    stored = put(store, tmp_path, data)

    pieces = list(store.read(stored.file_id))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 8 * MEBIBYTE
    border = 8 * MEBIBYTE
    assert bytes_of(store, stored.file_id, start=border - 3, stop=border + 3) == data[border - 3 : border + 3]


def test_putting_a_file_twice_stores_it_once(under_test: ArtifactStoreUnderTest, tmp_path: Path) -> None:
    first = put(under_test.store, tmp_path, b"twice")

    again = put(under_test.store, tmp_path, b"twice")

    assert again == first
    assert len(under_test.left_behind()) == 1


def test_two_who_put_one_file_at_once_both_succeed(
    under_test: ArtifactStoreUnderTest, tmp_path: Path
) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", os.urandom(300_000))

    with ThreadPoolExecutor(4) as pool:
        puts = [
            pool.submit(under_test.store.put, path, file_id=file_id, num_bytes=num_bytes) for _ in range(4)
        ]
        found = {(each.result().file_id, each.result().num_bytes) for each in puts}

    assert found == {(file_id, num_bytes)}
    assert bytes_of(under_test.store, file_id) == path.read_bytes()
    assert len(under_test.left_behind()) == 1


@pytest.mark.parametrize("num_bytes", [5, 9 * MEBIBYTE, 17 * MEBIBYTE])
def test_bytes_that_are_not_the_files_are_refused_and_nothing_stays(
    under_test: ArtifactStoreUnderTest, tmp_path: Path, num_bytes: int
) -> None:
    path, _, num_bytes = write(tmp_path / "source", bytes(num_bytes))

    refused = code_of(lambda: under_test.store.put(path, file_id=digest_of(b"other"), num_bytes=num_bytes))

    assert refused is ErrorCode.DIGEST_MISMATCH
    assert under_test.left_behind() == []
    assert under_test.store.find(digest_of(b"other")) is None


def test_a_file_that_is_shorter_than_said_is_refused_and_nothing_stays(
    under_test: ArtifactStoreUnderTest, tmp_path: Path
) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"short")

    refused = code_of(lambda: under_test.store.put(path, file_id=file_id, num_bytes=num_bytes + 1))

    assert refused is ErrorCode.DIGEST_MISMATCH
    assert under_test.left_behind() == []


def test_of_a_file_that_grows_the_sealed_beginning_is_stored(store: ArtifactStore, tmp_path: Path) -> None:
    path, file_id, num_bytes = write(tmp_path / "events.jsonl", b'{"seq": 1}\n')
    with path.open("ab") as file:
        file.write(b'{"seq": 2}\n')

    stored = store.put(path, file_id=file_id, num_bytes=num_bytes)

    assert stored.num_bytes == num_bytes
    assert bytes_of(store, file_id) == b'{"seq": 1}\n'


@pytest.mark.parametrize("mode", [0o644, 0o444])
def test_what_becomes_of_the_callers_file_later_does_not_matter(
    store: ArtifactStore, tmp_path: Path, mode: int
) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"once")
    path.chmod(mode)
    store.put(path, file_id=file_id, num_bytes=num_bytes)

    replacement, _, _ = write(tmp_path / "replacement", b"other")
    if mode & 0o200:
        path.write_bytes(b"written over")
    replacement.replace(path)

    assert bytes_of(store, file_id) == b"once"


def test_a_deleted_file_is_gone_and_can_be_put_again(
    under_test: ArtifactStoreUnderTest, tmp_path: Path
) -> None:
    store = under_test.store
    stored = put(store, tmp_path, b"gone")

    store.delete(stored.file_id)

    assert store.find(stored.file_id) is None
    assert under_test.left_behind() == []
    put(store, tmp_path, b"gone")
    assert bytes_of(store, stored.file_id) == b"gone"


def test_a_file_that_is_deleted_while_it_is_read_comes_whole_or_is_missed(
    store: ArtifactStore, tmp_path: Path
) -> None:
    data = bytes(MEBIBYTE) * 17
    stored = put(store, tmp_path, data)
    reading = store.read(stored.file_id)
    come = next(reading)

    store.delete(stored.file_id)

    missed: AppError | None = None
    try:
        come += b"".join(reading)
    except AppError as error:
        missed = error

    if missed is None:
        assert len(come) == len(data)
    else:
        assert missed.code is ErrorCode.FILE_NOT_FOUND


def test_files_are_listed_in_the_order_of_their_ids_page_by_page(
    store: ArtifactStore, tmp_path: Path
) -> None:
    stored = sorted(
        (put(store, tmp_path, str(number).encode()) for number in range(7)), key=lambda file: file.file_id
    )

    first = store.list_files(limit=3)
    second = store.list_files(after=first.files[-1].file_id, limit=3)
    third = store.list_files(after=second.files[-1].file_id, limit=3)

    assert (*first.files, *second.files, *third.files) == tuple(stored)
    assert [page.has_more for page in (first, second, third)] == [True, True, False]
    assert store.list_files(limit=7).has_more is False
    assert store.list_files(after="f" * 64, limit=3).files == ()
    between = stored[2].file_id[:-1] + ("0" if stored[2].file_id[-1] != "0" else "1")
    assert store.list_files(after=max(between, stored[1].file_id), limit=2).files[-1] in stored[2:5]


def test_an_empty_store_lists_nothing(store: ArtifactStore) -> None:
    page = store.list_files(limit=3)

    assert page.files == ()
    assert page.has_more is False


def test_files_can_be_listed_by_how_their_ids_begin(store: ArtifactStore, tmp_path: Path) -> None:
    stored = sorted(put(store, tmp_path, str(number).encode()).file_id for number in range(40))
    one = stored[20]

    for length in (1, 2, 3, 10, 64):
        prefix = one[:length]
        expected = [file_id for file_id in stored if file_id.startswith(prefix)]
        assert [file.file_id for file in store.list_files(prefix=prefix, limit=100).files] == expected
        behind = store.list_files(prefix=prefix, after=one, limit=100)
        assert [file.file_id for file in behind.files] == [each for each in expected if each > one]
        early = store.list_files(prefix=prefix, after=ABSENT, limit=1)
        assert [file.file_id for file in early.files] == expected[:1]
        assert early.has_more is (len(expected) > 1)
        assert store.list_files(prefix=prefix, after="f" * 64, limit=1).files == ()
    assert store.list_files(prefix="nothing begins so", limit=3).files == ()


def test_a_store_that_works_says_so(store: ArtifactStore) -> None:
    store.check()


@pytest.mark.parametrize("under_test", ["local", "s3", "databank"], indirect=True)
def test_a_large_file_goes_and_comes_in_little_memory(store: ArtifactStore, tmp_path: Path) -> None:
    path, file_id, num_bytes = sparse(tmp_path / "large", 160 * MEBIBYTE)
    come = [0]

    def go_and_come() -> None:
        store.put(path, file_id=file_id, num_bytes=num_bytes)
        for piece in store.read(file_id):
            come[0] += len(piece)

    assert _growth_at_most(go_and_come) < num_bytes / 2
    assert come[0] == num_bytes


@pytest.mark.parametrize("under_test", ["local", "s3", "databank"], indirect=True)
def test_a_process_that_is_killed_while_it_puts_leaves_no_file(
    under_test: ArtifactStoreUnderTest, tmp_path: Path
) -> None:
    path, file_id, num_bytes = sparse(tmp_path / "large", 48 * MEBIBYTE)
    putter = [sys.executable, "-m", "tests.contract.reopened"]
    command = [*putter, str(path), file_id, str(num_bytes), *under_test.how]
    for _ in range(5):
        _killed_at_its_first_trace(command, under_test)
        if under_test.store.find(file_id) is None:
            break
        # It was faster than the kill. What can be seen is whole then.
        assert sum(map(len, under_test.store.read(file_id))) == num_bytes
        under_test.store.delete(file_id)
    else:
        pytest.fail("It was always faster than the kill.")

    assert under_test.store.list_files(limit=3).files == ()
    under_test.store.put(path, file_id=file_id, num_bytes=num_bytes)
    assert sum(map(len, under_test.store.read(file_id))) == num_bytes


def sparse(path: Path, num_bytes: int) -> tuple[Path, str, int]:
    """A large file that takes no room."""
    with path.open("wb") as file:
        file.truncate(num_bytes)
    return path, sha256_of(path), num_bytes


def _killed_at_its_first_trace(command: list[str], under_test: ArtifactStoreUnderTest) -> None:
    """Runs until something lies in the store."""
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 60
        while under_test.left_behind() == [] and process.poll() is None:
            assert time.monotonic() < deadline
        process.kill()


def _growth_at_most(action: Callable[[], None]) -> int:
    """By how many bytes this process was larger at its largest than before."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets how large it has been
    before = _memory("VmRSS")
    action()
    return _memory("VmHWM") - before


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024
