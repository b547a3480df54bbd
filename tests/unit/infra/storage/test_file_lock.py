"""The lock of a file or folder, with others or alone."""

import errno
import fcntl
from contextlib import ExitStack
from pathlib import Path

import pytest

from model_trainer.infra.storage.file_lock import locked


def test_users_share_what_nobody_can_have_alone_meanwhile(tmp_path: Path) -> None:
    place = tmp_path / "in_use"
    with (
        locked(place, "shared"),
        locked(place, "shared"),
        pytest.raises(BlockingIOError),
        locked(place, "alone_at_once"),
    ):
        pytest.fail("it is in use")
    with locked(place, "alone_at_once"):
        assert place.is_file()


def test_a_folder_is_locked_as_it_is(tmp_path: Path) -> None:
    with locked(tmp_path, "alone"), pytest.raises(BlockingIOError), locked(tmp_path, "alone_at_once"):
        pytest.fail("it is locked")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_free_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), locked(tmp_path, "alone"):
        raise ValueError("x")
    with locked(tmp_path, "alone_at_once"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_where_there_are_no_locks_work_goes_on_and_nothing_is_taken_from_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with locked(tmp_path / "a", "shared"), locked(tmp_path / "a", "alone"):
        pass
    with pytest.raises(BlockingIOError), locked(tmp_path / "a", "alone_at_once"):
        pytest.fail("nobody knows who uses it")


def test_another_fault_of_the_system_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_descriptor: int, _how: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="broken"), locked(tmp_path / "a", "shared"):
        pytest.fail("the disk is broken")


def test_who_waits_for_a_lock_is_heard_meanwhile_and_gets_it(tmp_path: Path) -> None:
    calls = 0
    with ExitStack() as other:
        other.enter_context(locked(tmp_path, "alone"))

        def waiting() -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                other.close()

        with locked(tmp_path, "alone", waiting=waiting):
            assert calls == 2
