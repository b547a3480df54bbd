import errno
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import LockHolder
from model_trainer.infra.storage.memory import MemoryRunLocks
from model_trainer.infra.storage.processes import Processes
from model_trainer.infra.storage.run_locks import (
    LocalHeldLock,
    LocalRunLocks,
    NoRunLocks,
    flock_at_once,
    run_locks,
)

RUN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


class Immortal(Processes):
    """Processes that the kernel takes its time to end."""

    killed = 0

    def kill(self, holder: LockHolder) -> bool:
        self.killed += 1
        return True


def _locks(folder: Path, **more: float) -> LocalRunLocks:
    return LocalRunLocks(folder, host="here", patience_seconds=more.get("patience_seconds", 0.05))


def test_a_lock_file_names_its_holder_and_is_empty_when_nobody_has_it(tmp_path: Path) -> None:
    held = _locks(tmp_path).take(RUN, epoch=4)
    assert held is not None
    text = (tmp_path / f"{RUN}.lock").read_text()
    assert f'"pid":{os.getpid()}' in text
    assert '"epoch":4' in text
    held.release()
    assert (tmp_path / f"{RUN}.lock").read_text() == ""


def test_a_lock_is_not_inherited_by_programs_that_a_job_starts(tmp_path: Path) -> None:
    held = _locks(tmp_path).take(RUN, epoch=4)
    assert isinstance(held, LocalHeldLock)
    file = str(tmp_path / f"{RUN}.lock")
    names = [entry.name for entry in Path("/proc/self/fd").iterdir() if os.path.realpath(entry) == file]
    (descriptor,) = map(int, names)
    assert not os.get_inheritable(descriptor)


def test_no_process_kills_itself_for_a_lock(tmp_path: Path) -> None:
    held = _locks(tmp_path).take(RUN, epoch=0)
    assert _locks(tmp_path).take(RUN, epoch=2) is None
    assert held is not None
    held.release()


def test_somebody_who_only_looks_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / f"{RUN}.lock"
    path.touch()
    descriptors = [os.open(path, os.O_RDONLY)]
    flock_at_once(descriptors[0], True)

    def pause(_: float) -> None:
        while descriptors:
            os.close(descriptors.pop())

    locks = LocalRunLocks(tmp_path, host="here", pause=pause)
    assert locks.take(RUN, epoch=0) is not None


def test_a_lock_whose_holder_says_nothing_is_given_up_after_a_while(tmp_path: Path) -> None:
    held = _locks(tmp_path).take(RUN, epoch=0)
    (tmp_path / f"{RUN}.lock").write_text("no holder")
    assert _locks(tmp_path).take(RUN, epoch=2) is None
    assert held is not None


def test_a_killed_holder_that_does_not_go_is_given_up(tmp_path: Path) -> None:
    held = _locks(tmp_path).take(RUN, epoch=0)
    processes = Immortal()
    locks = LocalRunLocks(
        tmp_path, host="here", patience_seconds=0, killed_within_seconds=0.05, processes=processes
    )
    with capture_logs() as lines:
        assert locks.take(RUN, epoch=2) is None
    assert processes.killed == 1
    assert [line["event"] for line in lines] == ["stale_trainer_killed", "stale_trainer_stays"]
    assert held is not None


def test_a_lock_file_that_was_removed_meanwhile_locks_nothing(tmp_path: Path) -> None:
    removed: list[int] = []

    def flock(descriptor: int, is_shared: bool) -> None:
        if not removed:
            (tmp_path / f"{RUN}.lock").unlink()
            removed.append(descriptor)
        flock_at_once(descriptor, is_shared)

    locks = LocalRunLocks(tmp_path, host="here", flock=flock)
    assert locks.take(RUN, epoch=0) is not None
    assert not _locks(tmp_path).is_free(RUN)


def test_a_file_that_was_replaced_meanwhile_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    replaced: list[int] = []

    def flock(descriptor: int, is_shared: bool) -> None:
        if not replaced:
            path = tmp_path / f"{RUN}.lock"
            path.unlink()
            path.touch()
            replaced.append(descriptor)
        flock_at_once(descriptor, is_shared)

    locks = LocalRunLocks(tmp_path, host="here", flock=flock)
    assert locks.take(RUN, epoch=0) is not None
    assert not _locks(tmp_path).is_free(RUN)


def test_only_lock_files_that_nobody_has_are_removed(tmp_path: Path) -> None:
    locks = _locks(tmp_path)
    assert locks.run_ids() == ()
    held = locks.take(RUN, epoch=0)
    assert held is not None
    (tmp_path / "no-run.lock").touch()
    assert locks.run_ids() == (RUN,)
    assert not locks.remove(RUN)
    held.release()
    assert locks.remove(RUN)
    assert not (tmp_path / f"{RUN}.lock").exists()
    assert not locks.remove(RUN)
    assert locks.is_free(RUN)


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK])
def test_a_disk_without_locks_leaves_it_to_the_lease(tmp_path: Path, number: int) -> None:
    def flock(descriptor: int, is_shared: bool) -> None:
        raise OSError(number, "Not here")

    locks = LocalRunLocks(tmp_path, host="here", flock=flock)
    held = locks.take(RUN, epoch=0)
    assert held is not None
    held.release()
    assert not locks.is_free(RUN)


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, AppError), (errno.EIO, OSError)], ids=["full", "broken"]
)
def test_a_lock_that_cannot_be_made_is_no_lock(
    tmp_path: Path, number: int, expected: type[Exception]
) -> None:
    def flock(descriptor: int, is_shared: bool) -> None:
        raise OSError(number, "Broken")

    with pytest.raises(expected) as caught:
        LocalRunLocks(tmp_path, host="here", flock=flock).take(RUN, epoch=0)
    assert not isinstance(caught.value, AppError) or caught.value.code is ErrorCode.DISK_FULL


def test_a_lock_is_had_although_nothing_can_be_written_into_it(tmp_path: Path) -> None:
    reader, writer = os.pipe()  # a pipe takes no text at a place
    os.close(reader)
    with capture_logs() as lines:
        LocalHeldLock(writer).release()
    assert [line["event"] for line in lines] == ["lock_not_described"]


def test_what_is_no_run_has_no_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run's id"):
        _locks(tmp_path).take("../../etc/passwd", epoch=0)


def test_a_system_without_flock_lets_everybody_work_and_calls_nobody_dead(tmp_path: Path) -> None:
    locks = run_locks(tmp_path, host="here", has_flock=False)
    assert isinstance(locks, NoRunLocks)
    assert locks.host == "here"
    held = [locks.take(RUN, epoch=0), locks.take(RUN, epoch=0), locks.take_if_free(RUN)]
    for lock in held:
        assert lock is not None
        lock.release()
    assert not locks.is_free(RUN)


def test_locks_lie_beside_the_runs(tmp_path: Path) -> None:
    assert run_locks(tmp_path, host="here").take(RUN, epoch=0) is not None
    assert (tmp_path / ".locks" / f"{RUN}.lock").exists()


def test_the_fake_lets_a_newer_order_take_over(tmp_path: Path) -> None:
    locks = MemoryRunLocks()
    old = locks.take(RUN, epoch=0)
    new = locks.take(RUN, epoch=2)
    assert old is not None
    assert new is not None
    old.release()
    assert not locks.is_free(RUN)
    new.release()
    assert locks.is_free(RUN)
