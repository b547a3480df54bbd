"""A state folder belongs to one stack, and is free again once all of that stack has gone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.stack.lock import FolderLock


def test_a_second_stack_is_refused_and_told_who_has_the_folder(tmp_path: Path) -> None:
    with (
        FolderLock(tmp_path / "state"),
        pytest.raises(AppError, match=re.escape(f"process {os.getpid()}")) as caught,
        FolderLock(tmp_path / "state", patience_seconds=0),
    ):
        pass

    assert caught.value.code is ErrorCode.STACK_FAILED


def test_a_folder_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with FolderLock(tmp_path, patience_seconds=0) as lock:
            assert lock.descriptor >= 0


def test_the_lock_stays_while_a_child_that_inherited_it_lives(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as lock:
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", "input()"], pass_fds=(lock.descriptor,), stdin=subprocess.PIPE
        )
    with pytest.raises(AppError, match="Another stack"), FolderLock(tmp_path, patience_seconds=0.03):
        pass

    child.communicate(b"\n")

    with FolderLock(tmp_path, patience_seconds=20):
        pass


def test_a_lock_that_is_not_held_has_no_descriptor(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="not locked"):
        _ = FolderLock(tmp_path).descriptor
