"""Faults of the disk: a full one makes a run stand still and go on, one that refuses ends it, and neither is success."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from model_trainer.core.contracts.run import RunStatus
from model_trainer.core.errors import FailureClass, Reason, failure_class_of
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from tests.faults.attempts import refusal_of
from tests.faults.installation import LONG, SHORT, Installation, faults_of, steps_resumed_at, undisturbed

pytestmark = pytest.mark.slow

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


class Disk(Protocol):
    """Where the artifacts of an installation lie."""

    fault: str
    """What befalls the processes that work on it, by its name in FAULTS."""

    def fill(self) -> None:
        """Takes every byte that is left."""
        ...

    def free(self) -> None:
        """Gives them back."""
        ...

    def forbid_writing(self) -> None:
        """Makes it read-only."""
        ...

    def allow_writing(self) -> None:
        """Ends that."""
        ...


class MountedDisk:
    """A file system of 4 MB: the kernel itself refuses."""

    fault = "nothing"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"

    def mount(self) -> bool:
        """False where nobody may."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [*AS_ROOT, "mount", "-t", "tmpfs", "-o", "size=4m,mode=1777", "tmpfs", str(self._folder)]
        try:
            return subprocess.run(command, check=False, capture_output=True).returncode == 0
        except FileNotFoundError:
            return False

    def unmount(self) -> None:
        subprocess.run([*AS_ROOT, "umount", "--lazy", str(self._folder)], check=True)

    def fill(self) -> None:
        for size in (65_536, 4096, 1):
            try:
                with self._ballast.open("ab", buffering=0) as file:
                    while file.write(b"x" * size) == size:
                        pass
            except OSError:
                continue

    def free(self) -> None:
        self._ballast.unlink()

    def forbid_writing(self) -> None:
        self._remount("ro")

    def allow_writing(self) -> None:
        self._remount("rw")

    def _remount(self, how: str) -> None:
        subprocess.run([*AS_ROOT, "mount", "-o", f"remount,{how}", str(self._folder)], check=True)


class ImitatedDisk:
    """A folder in which processes are refused what a disk would refuse them: for this nobody needs a right."""

    fault = "a disk that refuses"

    def __init__(self, refusal: Path) -> None:
        self._refusal = refusal

    def fill(self) -> None:
        self._refusal.write_text(str(errno.ENOSPC))

    def forbid_writing(self) -> None:
        self._refusal.write_text(str(errno.EROFS))

    def free(self) -> None:
        self._refusal.unlink()

    allow_writing = free


@contextmanager
def installation_on(kind: str, *, redis: EmbeddedRedis, folder: Path) -> Iterator[tuple[Installation, Disk]]:
    """An installation on a disk of that kind, or on an imitated one where none can be mounted."""
    mounted = MountedDisk(folder / "artifacts")
    is_mounted = kind == "mounted" and mounted.mount()
    installation = Installation(folder, redis.url)
    try:
        yield installation, mounted if is_mounted else ImitatedDisk(refusal_of(installation.settings))
    finally:
        installation.close()
        if is_mounted:
            mounted.unmount()


def test_a_limit_on_the_size_of_files_ends_the_run_and_is_no_success(installation: Installation) -> None:
    run_id = installation.submit(SHORT, key="small files")
    installation.work_elsewhere(run_id, before="small files").join()
    record = installation.get(run_id)
    assert record.status is not RunStatus.COMPLETED
    assert record.attempts[-1].problem is not None
    assert "File too large" in str(record.attempts[-1].problem.exception)


@pytest.mark.parametrize("kind", ["imitated", "mounted"])
def test_a_run_on_a_full_disk_keeps_its_last_checkpoint_and_goes_on_from_it_when_there_is_space(
    module_redis: EmbeddedRedis, tmp_path: Path, kind: str
) -> None:
    with installation_on(kind, redis=module_redis, folder=tmp_path) as (installation, disk):
        expectation = undisturbed(installation, LONG, key=f"undisturbed, {kind}")
        run_id = installation.submit(LONG, key=f"full, {kind}")
        work = installation.work_elsewhere(run_id, before=disk.fault)
        installation.wait_for_step(run_id, 250)
        disk.fill()
        work.join()
        record = installation.get(run_id)
        assert (record.status, record.reason) == (RunStatus.PAUSED, Reason.DISK_FULL), record
        kept = installation.last_checkpoint(run_id)
        disk.free()
        installation.finish(run_id)
        assert faults_of(installation, f"full, {kind}", expected=expectation) == []
        assert steps_resumed_at(installation, run_id) == [kept]


@pytest.mark.parametrize("kind", ["imitated", "mounted"])
def test_a_disk_that_becomes_read_only_ends_the_run_and_is_no_success(
    module_redis: EmbeddedRedis, tmp_path: Path, kind: str
) -> None:
    with installation_on(kind, redis=module_redis, folder=tmp_path) as (installation, disk):
        run_id = installation.submit(SHORT, key=f"read-only, {kind}")
        installation.work_elsewhere(run_id, failpoint="checkpoint.parent_synced:kill").join()
        installation.maintain()
        disk.forbid_writing()
        installation.work_elsewhere(run_id, before=disk.fault).join()
        record = installation.get(run_id)
        disk.allow_writing()
        assert record.status is RunStatus.FAILED, record
        assert record.problem is not None
        assert failure_class_of(record.problem.code) is FailureClass.FATAL
        assert "Read-only file system" in str(record.problem.exception)


def test_a_folder_that_may_not_be_written_ends_the_run_within_one_checkpoint(
    installation: Installation,
) -> None:
    run_id = installation.submit(SHORT, key="no right")
    checkpoints = installation.model_folder(run_id) / "checkpoints"
    checkpoints.mkdir(parents=True)
    checkpoints.chmod(0o555)
    installation.work_elsewhere(run_id, before="no privileges").join()
    checkpoints.chmod(0o755)
    record = installation.get(run_id)
    assert record.status is RunStatus.FAILED
    assert record.problem is not None
    assert failure_class_of(record.problem.code) is FailureClass.FATAL
    assert "PermissionError" in str(record.problem.exception)
