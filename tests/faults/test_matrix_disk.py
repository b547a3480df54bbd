"""Faults of the disk: a full one makes a run stand still and go on, one that refuses ends it, and neither is success."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_trainer.core.contracts.run import RunStatus
from model_trainer.core.errors import FailureClass, Reason, failure_class_of
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from tests.faults.installation import LONG, SHORT, Installation, faults_of, steps_resumed_at, undisturbed

pytestmark = pytest.mark.slow


AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


def mount(folder: Path) -> bool:
    """Puts a file system of 4 MB there; False where nobody may."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [*AS_ROOT, "mount", "-t", "tmpfs", "-o", "size=4m,mode=1777", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def remount(folder: Path, how: str) -> None:
    subprocess.run([*AS_ROOT, "mount", "-o", f"remount,{how}", str(folder)], check=True)


def unmount(folder: Path) -> None:
    subprocess.run([*AS_ROOT, "umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(module_redis: EmbeddedRedis, folder: Path) -> Iterator[Installation | None]:
    """An installation whose artifacts have a file system of their own.

    None where none can be mounted: there tests of the engine and the worker, with a writer that raises ENOSPC, must do.
    """
    if not mount(folder / "artifacts"):
        yield None
        return
    installation = Installation(folder, module_redis.url)
    try:
        yield installation
    finally:
        installation.close()
        unmount(folder / "artifacts")


def test_a_limit_on_the_size_of_files_ends_the_run_and_is_no_success(installation: Installation) -> None:
    run_id = installation.submit(SHORT, key="small files")
    installation.work_elsewhere(run_id, before="small files").join()
    record = installation.get(run_id)
    assert record.status is not RunStatus.COMPLETED
    assert record.attempts[-1].problem is not None
    assert "File too large" in str(record.attempts[-1].problem.exception)


def test_a_run_on_a_full_disk_keeps_its_last_checkpoint_and_goes_on_from_it_when_there_is_space(
    module_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    with small_disk(module_redis, tmp_path) as installation:
        if installation is None:
            return
        expectation = undisturbed(installation, LONG)
        run_id = installation.submit(LONG, key="full")
        work = installation.work_elsewhere(run_id)
        installation.wait_for_step(run_id, 250)
        ballast = installation.settings.app.artifacts_root / "ballast"
        fill(ballast)
        work.join()
        record = installation.get(run_id)
        assert (record.status, record.reason) == (RunStatus.PAUSED, Reason.DISK_FULL), record
        kept = installation.last_checkpoint(run_id)
        ballast.unlink()
        installation.finish(run_id)
        assert faults_of(installation, "full", expected=expectation) == []
        assert steps_resumed_at(installation, run_id) == [kept]


def fill(ballast: Path) -> None:
    """Takes every byte that is left."""
    for size in (65_536, 4096, 1):
        try:
            with ballast.open("ab", buffering=0) as file:
                while file.write(b"x" * size) == size:
                    pass
        except OSError:
            continue


def test_a_disk_that_becomes_read_only_ends_the_run_and_is_no_success(
    module_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    with small_disk(module_redis, tmp_path) as installation:
        if installation is None:
            return
        run_id = installation.submit(SHORT, key="read-only")
        installation.work_elsewhere(run_id, failpoint="checkpoint.parent_synced:kill").join()
        installation.maintain()
        place = installation.settings.app.artifacts_root
        remount(place, "ro")
        installation.work_elsewhere(run_id).join()
        record = installation.get(run_id)
        remount(place, "rw")
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
