"""What the local store does that others need not."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.stores.local import LocalStore
from tests.contract.artifact_stores import digest_of, files_below, write


def refused(action: Callable[[], object]) -> ErrorCode:
    with pytest.raises(AppError) as caught:
        action()
    return caught.value.code


def failing(number: int) -> Callable[[int], None]:
    """A disk that fails when it is told to keep what was written."""

    def sync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    return sync


def test_it_says_that_it_is_local(tmp_path: Path) -> None:
    assert LocalStore(tmp_path).is_local


@pytest.mark.parametrize(("mode", "num_names"), [(0o444, 2), (0o400, 2), (0o644, 1), (0o464, 1)])
def test_only_a_file_that_is_read_only_is_linked(tmp_path: Path, mode: int, num_names: int) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    path.chmod(mode)

    LocalStore(tmp_path / "store").put(path, file_id=file_id, num_bytes=num_bytes)

    assert path.stat().st_nlink == num_names


def test_a_read_only_file_of_which_a_part_is_sealed_is_copied(tmp_path: Path) -> None:
    path, _, _ = write(tmp_path / "source", b"hello, and more")
    path.chmod(0o444)
    store = LocalStore(tmp_path / "store")

    store.put(path, file_id=digest_of(b"hello"), num_bytes=5)

    assert b"".join(store.read(digest_of(b"hello"))) == b"hello"


def test_a_link_to_a_read_only_file_is_copied_not_linked(tmp_path: Path) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    path.chmod(0o444)
    (tmp_path / "link").symlink_to(path)
    store = LocalStore(tmp_path / "store")

    store.put(tmp_path / "link", file_id=file_id, num_bytes=num_bytes)

    stored = store.path_of(file_id)
    assert stored is not None
    assert not stored.is_symlink()
    assert path.stat().st_nlink == 1


def test_a_read_only_file_on_another_disk_is_copied(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")

    store.put(Path("/proc/version"), file_id=digest_of(b""), num_bytes=0)

    assert store.find(digest_of(b"")) is not None


def test_a_read_only_file_with_other_bytes_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    path, _, _ = write(tmp_path / "source", b"hello")
    path.chmod(0o444)
    store = LocalStore(tmp_path / "store")

    code = refused(lambda: store.put(path, file_id=digest_of(b"jello"), num_bytes=5))

    assert code is ErrorCode.DIGEST_MISMATCH
    assert files_below(tmp_path / "store") == []
    assert path.stat().st_nlink == 1


@pytest.mark.parametrize(
    "touch", [lambda descriptor: os.fchmod(descriptor, 0o644), lambda descriptor: os.utime(descriptor)]
)
def test_a_file_that_is_touched_while_it_is_linked_is_refused(
    tmp_path: Path, touch: Callable[[int], None]
) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    path.chmod(0o444)
    os.utime(path, (1, 1))
    store = LocalStore(tmp_path / "store", sync=touch)

    code = refused(lambda: store.put(path, file_id=file_id, num_bytes=num_bytes))

    assert code is ErrorCode.DIGEST_MISMATCH
    assert files_below(tmp_path / "store") == []


@pytest.mark.parametrize("mode", [0o444, 0o644])
def test_a_disk_that_is_full_says_so_and_nothing_stays(tmp_path: Path, mode: int) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    path.chmod(mode)
    store = LocalStore(tmp_path / "store", sync=failing(errno.ENOSPC))

    assert refused(lambda: store.put(path, file_id=file_id, num_bytes=num_bytes)) is ErrorCode.DISK_FULL
    assert files_below(tmp_path / "store") == []
    assert store.find(file_id) is None


def test_a_disk_that_does_not_work_is_named(tmp_path: Path) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    store = LocalStore(tmp_path / "store", sync=failing(errno.EIO))

    with pytest.raises(AppError, match="APP__ARTIFACTS_ROOT") as caught:
        store.put(path, file_id=file_id, num_bytes=num_bytes)

    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert caught.value.facts["detail"] == os.strerror(errno.EIO)
    assert files_below(tmp_path / "store") == []


def test_a_source_that_cannot_be_read_is_no_fault_of_the_store(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")

    with pytest.raises(OSError, match="Input/output"):
        store.put(Path("/proc/self/mem"), file_id=digest_of(b"hello"), num_bytes=5)

    assert files_below(tmp_path / "store") == []


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.find("0" * 64),
        lambda store: list(store.read("0" * 64)),
        lambda store: store.delete("0" * 64),
        lambda store: store.list_files(limit=1),
        lambda store: store.check(),
    ],
)
def test_a_file_in_place_of_its_folder_makes_it_useless(
    tmp_path: Path, call: Callable[[LocalStore], object]
) -> None:
    (tmp_path / "store").write_text("not a folder")

    assert refused(lambda: call(LocalStore(tmp_path / "store"))) is ErrorCode.STORE_UNAVAILABLE


def test_a_folder_that_cannot_be_written_to_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        LocalStore(Path("/proc/1")).check()  # nobody, not even root, may write there

    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE


def test_a_damaged_file_is_put_anew(tmp_path: Path) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    store = LocalStore(tmp_path / "store")
    store.put(path, file_id=file_id, num_bytes=num_bytes)
    stored = store.path_of(file_id)
    assert stored is not None
    stored.chmod(0o644)
    stored.write_bytes(b"hell")

    store.put(path, file_id=file_id, num_bytes=num_bytes)

    assert b"".join(store.read(file_id)) == b"hello"


def test_what_lies_in_the_store_is_read_only_and_can_be_linked(tmp_path: Path) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    store = LocalStore(tmp_path / "store")
    store.put(path, file_id=file_id, num_bytes=num_bytes)

    stored = store.path_of(file_id)

    assert stored is not None
    assert stored.read_bytes() == b"hello"
    assert stored.stat().st_mode & 0o777 == 0o444
    assert store.path_of("0" * 64) is None


def test_what_is_no_stored_file_is_not_listed(tmp_path: Path) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    folder = tmp_path / "store"
    store = LocalStore(folder)
    store.put(path, file_id=file_id, num_bytes=num_bytes)
    (folder / ".tmp-1").write_text("unfinished")
    (folder / file_id[:2] / "note.txt").write_text("somebody's")
    (folder / file_id[:2] / ("f" * 62)).mkdir()
    (folder / "notes").mkdir()

    assert [file.file_id for file in store.list_files(limit=10).files] == [file_id]
    assert store.find(file_id[:2] + "f" * 62) is None


def test_only_the_folders_behind_the_cursor_are_looked_into(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    early, late = (tmp_path / "store" / name for name in ("00", "ff"))
    for folder in (early, late):
        folder.mkdir(parents=True)
        (folder / ("1" * 62)).write_text("x")
    early.rename(tmp_path / "elsewhere")
    early.write_text("whoever looks in here fails")

    assert [each.file_id[:2] for each in store.list_files(after="a" * 64, limit=5).files] == ["ff"]
    assert [each.file_id[:2] for each in store.list_files(after="ff" + "0" * 62, limit=5).files] == ["ff"]
    assert [each.file_id[:2] for each in store.list_files(prefix="f", limit=5).files] == ["ff"]
    assert [each.file_id[:2] for each in store.list_files(prefix="ff1", limit=5).files] == ["ff"]
    assert refused(lambda: store.list_files(limit=5)) is ErrorCode.STORE_UNAVAILABLE
