"""Files that come in parts, as every place for them answers."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model_trainer.core.contracts.files import NewUpload
from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.store import Uploads
from model_trainer.infra.storage.stores.local import LocalStore
from model_trainer.infra.storage.uploads import LocalUploads
from tests.contract.artifact_stores import digest_of, files_below

MAX_BYTES = 1000
UNKNOWN = "01J00000000000000000000000"


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return LocalUploads(tmp_path / "uploads", max_bytes=MAX_BYTES, clock=lambda: 1_700_000_000.5)


def begun(uploads: Uploads, *, num_bytes: int | None = None, sha256: str | None = None) -> str:
    return uploads.begin(NewUpload(num_bytes=num_bytes, sha256=sha256)).upload_id


def send(uploads: Uploads, upload_id: str, data: bytes, *, offset: int = 0) -> int:
    part = uploads.append(upload_id, offset=offset)
    part.write(data)
    return part.close().offset


def fault_of(action: Callable[[], object]) -> AppError:
    with pytest.raises(AppError) as caught:
        action()
    return caught.value


class StoreIsAwayError(Exception):
    """What is done with a whole upload may fail."""


def looked_at(uploads: Uploads, upload_id: str) -> tuple[bytes, str, int]:
    """A whole upload's bytes, digest and number, by somebody who could not store it."""
    with contextlib.suppress(StoreIsAwayError), uploads.whole(upload_id) as (path, file_id, num_bytes):
        found = path.read_bytes(), file_id, num_bytes
        raise StoreIsAwayError
    return found


def taken(uploads: Uploads, upload_id: str) -> str:
    """The digest of a whole upload that is stored."""
    with uploads.whole(upload_id) as (_, file_id, _num_bytes):
        return file_id


def faults_of_all(uploads: Uploads, upload_id: str) -> list[AppError]:
    """What each call says of an upload that cannot be worked with."""
    return [
        fault_of(lambda: uploads.find(upload_id)),
        fault_of(lambda: taken(uploads, upload_id)),
        fault_of(lambda: uploads.abort(upload_id)),
        fault_of(lambda: uploads.append(upload_id, offset=0)),
    ]


def test_an_upload_begins_empty_and_says_what_was_announced(uploads: Uploads) -> None:
    digest = digest_of(b"hello")

    upload = uploads.begin(NewUpload(num_bytes=5, sha256=digest))

    assert is_ulid(upload.upload_id)
    assert (upload.offset, upload.num_bytes, upload.sha256) == (0, 5, digest)
    assert upload.created_at_ms == 1_700_000_000_500
    assert uploads.find(upload.upload_id) == upload


def test_parts_make_the_file_one_after_another(uploads: Uploads) -> None:
    upload_id = begun(uploads)

    assert send(uploads, upload_id, b"hel") == 3
    assert uploads.find(upload_id).offset == 3
    assert send(uploads, upload_id, b"lo", offset=3) == 5

    assert looked_at(uploads, upload_id) == (b"hello", digest_of(b"hello"), 5)


def test_a_file_may_be_empty(uploads: Uploads) -> None:
    assert looked_at(uploads, begun(uploads)) == (b"", digest_of(b""), 0)


def test_what_was_written_counts_though_the_sender_broke_off(uploads: Uploads) -> None:
    upload_id = begun(uploads, num_bytes=5)
    part = uploads.append(upload_id, offset=0)
    part.write(b"he")

    assert part.close().offset == 2

    assert send(uploads, upload_id, b"llo", offset=2) == 5


@pytest.mark.parametrize("offset", [0, 2, 4])
def test_a_part_that_begins_elsewhere_is_refused_with_the_right_place(uploads: Uploads, offset: int) -> None:
    upload_id = begun(uploads)
    send(uploads, upload_id, b"hel")

    fault = fault_of(lambda: uploads.append(upload_id, offset=offset))

    assert fault.code is ErrorCode.CONFLICT
    assert "byte 3" in fault.message
    assert fault.facts["offset"] == 3
    assert uploads.find(upload_id).offset == 3
    assert send(uploads, upload_id, b"lo", offset=3) == 5


def test_only_one_part_comes_at_a_time(uploads: Uploads) -> None:
    upload_id = begun(uploads)
    coming = uploads.append(upload_id, offset=0)

    assert fault_of(lambda: uploads.append(upload_id, offset=0)).code is ErrorCode.CONFLICT
    assert fault_of(lambda: taken(uploads, upload_id)).code is ErrorCode.CONFLICT

    coming.write(b"one")
    coming.close()
    assert send(uploads, upload_id, b"two", offset=3) == 6


@pytest.mark.parametrize(("announced", "longest"), [(5, 5), (None, MAX_BYTES)])
def test_nothing_goes_beyond_what_was_announced_or_is_allowed(
    uploads: Uploads, announced: int | None, longest: int
) -> None:
    upload_id = begun(uploads, num_bytes=announced)
    part = uploads.append(upload_id, offset=0)
    part.write(bytes(longest - 1))

    fault = fault_of(lambda: part.write(b"xx"))

    assert fault.code is ErrorCode.REQUEST_TOO_LARGE
    assert str(longest) in fault.message
    assert part.close().offset == longest - 1
    assert send(uploads, upload_id, b"x", offset=longest - 1) == longest


def test_a_file_that_is_announced_too_large_is_refused_at_once(uploads: Uploads, tmp_path: Path) -> None:
    fault = fault_of(lambda: begun(uploads, num_bytes=MAX_BYTES + 1))

    assert fault.code is ErrorCode.REQUEST_TOO_LARGE
    assert "APP__MAX_FILE_BYTES" in fault.message
    assert files_below(tmp_path) == []
    assert is_ulid(begun(uploads, num_bytes=MAX_BYTES))


def test_a_file_is_not_whole_while_bytes_are_missing(uploads: Uploads) -> None:
    upload_id = begun(uploads, num_bytes=5)
    send(uploads, upload_id, b"hell")

    fault = fault_of(lambda: taken(uploads, upload_id))

    assert fault.code is ErrorCode.CONFLICT
    assert "4 of 5 bytes" in fault.message
    send(uploads, upload_id, b"o", offset=4)
    assert taken(uploads, upload_id) == digest_of(b"hello")


def test_a_file_that_is_not_the_announced_one_is_thrown_away(uploads: Uploads, tmp_path: Path) -> None:
    upload_id = begun(uploads, sha256=digest_of(b"hello"))
    send(uploads, upload_id, b"jello")

    fault = fault_of(lambda: taken(uploads, upload_id))

    assert fault.code is ErrorCode.DIGEST_MISMATCH
    assert digest_of(b"jello") in fault.message
    assert fault_of(lambda: uploads.find(upload_id)).code is ErrorCode.FILE_NOT_FOUND
    assert files_below(tmp_path) == []


def test_the_announced_file_is_whole(uploads: Uploads) -> None:
    upload_id = begun(uploads, num_bytes=5, sha256=digest_of(b"hello"))
    send(uploads, upload_id, b"hello")

    assert taken(uploads, upload_id) == digest_of(b"hello")


def test_a_whole_file_can_be_asked_for_again_but_nothing_is_added_to_it(
    uploads: Uploads, tmp_path: Path
) -> None:
    upload_id = begun(uploads)
    send(uploads, upload_id, b"hello")
    store = LocalStore(tmp_path / "store")
    with contextlib.suppress(StoreIsAwayError), uploads.whole(upload_id) as (path, file_id, num_bytes):
        store.put(path, file_id=file_id, num_bytes=num_bytes)
        raise StoreIsAwayError

    fault = fault_of(lambda: uploads.append(upload_id, offset=5))

    assert fault.code is ErrorCode.CONFLICT
    assert looked_at(uploads, upload_id) == (b"hello", file_id, num_bytes)
    assert b"".join(store.read(file_id)) == b"hello"


def test_while_a_whole_file_is_being_stored_nobody_takes_it_away(uploads: Uploads, tmp_path: Path) -> None:
    upload_id = begun(uploads)
    send(uploads, upload_id, b"hello")
    with uploads.whole(upload_id) as (path, _, _num_bytes):
        assert fault_of(lambda: uploads.abort(upload_id)).code is ErrorCode.CONFLICT
        assert fault_of(lambda: taken(uploads, upload_id)).code is ErrorCode.CONFLICT
        cleaner = os.open(path.parent, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(cleaner)
        assert path.read_bytes() == b"hello"

    assert files_below(tmp_path) == []
    assert fault_of(lambda: uploads.find(upload_id)).code is ErrorCode.FILE_NOT_FOUND


def test_a_whole_file_that_somebody_tidied_away_once_it_was_stored_has_gone_and_that_is_all(
    uploads: Uploads, tmp_path: Path
) -> None:
    upload_id = begun(uploads)
    with uploads.whole(upload_id) as (path, _, _num_bytes):
        shutil.rmtree(path.parent)

    assert files_below(tmp_path) == []


def test_a_whole_file_that_could_not_be_stored_stays_and_can_be_given_up(
    uploads: Uploads, tmp_path: Path
) -> None:
    upload_id = begun(uploads)
    send(uploads, upload_id, b"hello")
    looked_at(uploads, upload_id)
    assert uploads.find(upload_id).offset == 5

    uploads.abort(upload_id)
    assert files_below(tmp_path) == []


def test_a_whole_file_lies_on_the_stores_disk_once(uploads: Uploads, tmp_path: Path) -> None:
    upload_id = begun(uploads)
    send(uploads, upload_id, b"hello")
    with uploads.whole(upload_id) as (path, file_id, num_bytes):
        LocalStore(tmp_path / "store").put(path, file_id=file_id, num_bytes=num_bytes)
        assert path.samefile(tmp_path / "store" / file_id[:2] / file_id[2:])

    assert b"".join(LocalStore(tmp_path / "store").read(file_id)) == b"hello"


def test_an_aborted_upload_is_gone(uploads: Uploads, tmp_path: Path) -> None:
    upload_id = begun(uploads)
    send(uploads, upload_id, b"hello")

    uploads.abort(upload_id)

    assert files_below(tmp_path) == []
    for fault in faults_of_all(uploads, upload_id):
        assert fault.code is ErrorCode.FILE_NOT_FOUND


def test_a_part_of_an_upload_that_was_aborted_meanwhile_finds_out_at_its_end(uploads: Uploads) -> None:
    upload_id = begun(uploads)
    part = uploads.append(upload_id, offset=0)
    uploads.abort(upload_id)

    part.write(b"hello")

    assert fault_of(part.close).code is ErrorCode.FILE_NOT_FOUND


@pytest.mark.parametrize("text", ["", "../x", UNKNOWN, UNKNOWN.lower(), "\0", "x" * 5000])
def test_an_unknown_upload_is_not_found(uploads: Uploads, text: str) -> None:
    for fault in faults_of_all(uploads, text):
        assert fault.code is ErrorCode.FILE_NOT_FOUND
        assert len(fault.message) < 300


def test_an_upload_that_lost_its_description_is_not_found(uploads: Uploads, tmp_path: Path) -> None:
    upload_id = begun(uploads)
    (tmp_path / "uploads" / upload_id / "upload.json").write_text("{")

    assert fault_of(lambda: uploads.find(upload_id)).code is ErrorCode.FILE_NOT_FOUND
    assert fault_of(lambda: uploads.append(upload_id, offset=0)).code is ErrorCode.FILE_NOT_FOUND


def test_a_link_in_place_of_an_upload_is_not_followed(uploads: Uploads, tmp_path: Path) -> None:
    upload_id, other = begun(uploads), begun(uploads)
    folder = tmp_path / "uploads"
    shutil.rmtree(folder / upload_id)
    (folder / upload_id).symlink_to(folder / other)

    assert fault_of(lambda: uploads.append(upload_id, offset=0)).code is ErrorCode.FILE_NOT_FOUND


def test_no_clean_up_takes_an_upload_while_a_part_is_coming(uploads: Uploads, tmp_path: Path) -> None:
    upload_id = begun(uploads)
    part = uploads.append(upload_id, offset=0)
    cleaner = os.open(tmp_path / "uploads" / upload_id, os.O_RDONLY)

    with pytest.raises(BlockingIOError):
        fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    part.close()

    fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(cleaner)
