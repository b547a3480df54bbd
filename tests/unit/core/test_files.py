"""Files are whole or absent, and links are not followed."""

import hashlib
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import (
    disk_errors,
    fsync_folder,
    is_plain_name,
    open_regular,
    sha256_of,
    write_atomically,
)


def test_a_digest_is_that_of_all_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "empty").touch()

    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
    assert sha256_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"

    write_atomically(path, b"the first, longer text")
    write_atomically(path, b"second")

    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_was_written_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_reader_never_sees_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = [letter * 100_000 for letter in (b"a", b"b")]
    write_atomically(path, texts[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(20):
            write_atomically(path, texts[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = {path.read_bytes() for _ in iter(done.is_set, True)}
    writer.join()

    assert seen <= set(texts)


def test_a_write_that_fails_keeps_the_old_file_and_removes_its_own(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    (path / "inner").mkdir(parents=True)

    with pytest.raises(OSError, match="folder"):
        write_atomically(path, b"a file cannot replace a folder")

    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_has_a_code_of_its_own() -> None:
    full = Path("/dev/full")
    with pytest.raises(AppError, match="Free some space") as caught, disk_errors(full):
        full.write_bytes(b"x")

    assert caught.value.code is ErrorCode.DISK_FULL


def test_other_faults_of_the_disk_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "missing").read_bytes()


def test_a_folder_can_be_made_durable(tmp_path: Path) -> None:
    fsync_folder(tmp_path)

    with pytest.raises(FileNotFoundError):
        fsync_folder(tmp_path / "missing")


def test_windows_is_not_asked_to_open_a_folder(tmp_path: Path) -> None:
    fsync_folder(tmp_path / "missing", platform="win32")


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.txt").write_text("ay")
    (folder / "link.txt").symlink_to(folder / "inner" / "a.txt")
    (folder / "linked").symlink_to(folder / "inner")
    os.mkfifo(folder / "pipe.txt")
    return folder


def test_a_regular_file_is_opened_either_way(shelf: Path) -> None:
    path = shelf / "inner" / "a.txt"

    for below in (None, shelf, shelf / "inner"):
        with open_regular(path, below=below) as file:
            assert file.read() == b"ay"


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("name", ["link.txt", "inner", "pipe.txt", "socket.txt", "x" * 300])
def test_what_is_no_regular_file_is_not_opened(shelf: Path, name: str, below: bool) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(shelf / "socket.txt"))

        with pytest.raises(AppError) as caught:
            open_regular(shelf / name, below=shelf if below else None)

    assert caught.value.code is ErrorCode.DATA_PATH_FORBIDDEN


def test_a_device_is_not_read() -> None:
    with pytest.raises(AppError, match="not a regular file") as caught:
        open_regular(Path("/dev/zero"))

    assert caught.value.code is ErrorCode.DATA_PATH_FORBIDDEN


def test_no_link_on_the_way_is_followed_below_a_folder(shelf: Path) -> None:
    with pytest.raises(AppError) as caught:
        open_regular(shelf / "linked" / "a.txt", below=shelf)

    assert caught.value.code is ErrorCode.DATA_PATH_FORBIDDEN


@pytest.mark.parametrize("name", ["missing.txt", "missing/a.txt", "inner/missing.txt"])
def test_a_file_that_has_gone_is_not_found(shelf: Path, name: str) -> None:
    for below in (None, shelf):
        with pytest.raises(AppError, match="not there any more") as caught:
            open_regular(shelf / name, below=below)
        assert caught.value.code is ErrorCode.DATA_NOT_FOUND


def test_opening_costs_no_descriptor_when_it_fails(shelf: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    for name in ("link.txt", "linked/a.txt", "inner/missing.txt", "pipe.txt", "inner"):
        with pytest.raises(AppError):
            open_regular(shelf / name, below=shelf)
    for name in ("link.txt", "inner/missing.txt", "pipe.txt", "inner"):
        with pytest.raises(AppError):
            open_regular(shelf / name)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "C:", "a\0", ".tmp-a"])
def test_a_name_from_elsewhere_that_means_more_than_one_file_is_not_plain(name: str) -> None:
    assert not is_plain_name(name)
    assert is_plain_name("...")
