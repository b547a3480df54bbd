"""Named moments at which a test can make a process fail. In production every one of them is passed by.

Each is a moment between two effects that others can see (a write, a rename, a script): what a crash there leaves behind
is a case of its own. `APP__FAILPOINT=checkpoint.renamed:kill@3` kills the process the third time it gets there.
"""

import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Literal, TypeGuard, assert_never

from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.logging import get_logger

log = get_logger(__name__)

Action = Literal["kill", "error", "wait"]
FAILPOINT_PATTERN = r"^[a-z_]+\.[a-z_]+:(kill|error|wait)(@[1-9][0-9]{0,8})?$"
WAIT_SECONDS = 5.0


class Failpoint(StrEnum):
    """Where a process may fail, in the order a run meets them."""

    SUBMIT_BEGUN = "submit.begun"
    SUBMIT_WATCHED = "submit.watched"
    SUBMIT_STAGED = "submit.staged"
    SUBMIT_COMMITTED = "submit.committed"
    SUBMIT_KEPT = "submit.kept"
    """The record is on disk too."""

    CLAIM_BEGUN = "claim.begun"
    CLAIM_LOCKED = "claim.locked"
    CLAIM_GRANTED = "claim.granted"
    CLAIM_KEPT = "claim.kept"
    CLAIM_FOLDER_MADE = "claim.folder_made"

    CHECKPOINT_BEGUN = "checkpoint.begun"
    CHECKPOINT_FOLDER_MADE = "checkpoint.folder_made"
    CHECKPOINT_MODEL_WRITTEN = "checkpoint.model_written"
    CHECKPOINT_TRAINING_WRITTEN = "checkpoint.training_written"
    CHECKPOINT_STATE_WRITTEN = "checkpoint.state_written"
    CHECKPOINT_HASHED = "checkpoint.hashed"
    CHECKPOINT_MANIFEST_WRITTEN = "checkpoint.manifest_written"
    CHECKPOINT_FILES_SYNCED = "checkpoint.files_synced"
    CHECKPOINT_FOLDER_SYNCED = "checkpoint.folder_synced"
    CHECKPOINT_ROWS_SYNCED = "checkpoint.rows_synced"
    CHECKPOINT_RENAMED = "checkpoint.renamed"
    CHECKPOINT_PARENT_SYNCED = "checkpoint.parent_synced"
    CHECKPOINT_OLD_HIDDEN = "checkpoint.old_hidden"
    CHECKPOINT_OLD_REMOVED = "checkpoint.old_removed"

    RELEASE_BEGUN = "release.begun"
    RELEASE_WRITTEN = "release.written"
    RELEASE_QUEUED = "release.queued"

    FINISH_WORK_DONE = "finish.work_done"
    FINISH_WEIGHTS_SAVED = "finish.weights_saved"
    FINISH_EVALUATED = "finish.evaluated"
    FINISH_SEALED = "finish.sealed"
    UPLOAD_BEGUN = "upload.begun"
    UPLOAD_FILE_STORED = "upload.file_stored"
    UPLOAD_MANIFEST_STORED = "upload.manifest_stored"
    UPLOAD_POINTED = "upload.pointed"

    FINISH_BEGUN = "finish.begun"
    FINISH_WRITTEN = "finish.written"
    FINISH_KEPT = "finish.kept"
    FINISH_RESEALED = "finish.resealed"


Reached = Callable[[Failpoint], None]
"""Told of each moment; returns, or does not."""


def pass_by(_: Failpoint) -> None:
    """Nothing fails."""


def kill_this_process() -> None:  # pragma: no cover - ends the process that would measure it
    """As the kernel's out-of-memory killer would, or a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


class OneFailpoint:
    """Fails at one moment, the nth time it comes, once."""

    def __init__(
        self,
        order: str,
        *,
        kill: Callable[[], None] = kill_this_process,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`order`: `<failpoint>:<kill|error|wait>[@<n>]`; raises CONFIG_INVALID for anything else."""
        self._point, self._action, self._countdown = _parsed(order)
        self._kill = kill
        self._wait = wait
        self._lock = threading.Lock()
        log.warning("failpoint_set", detail=order)

    def __call__(self, point: Failpoint) -> None:
        """Passes by, or fails: dies, raises an input/output error, or waits for five seconds."""
        if point is not self._point or not self._is_time():
            return
        log.warning("failpoint_reached", detail=f"{point.value}:{self._action}")
        match self._action:
            case "kill":
                self._kill()
            case "error":
                raise OSError(errno.EIO, f"Made to fail at {point.value}")
            case "wait":
                self._wait(WAIT_SECONDS)
            case _:
                assert_never(self._action)

    def _is_time(self) -> bool:
        with self._lock:
            self._countdown -= 1
            return self._countdown == 0


def _parsed(order: str) -> tuple[Failpoint, Action, int]:
    name, _, rest = order.partition(":")
    action, _, count = rest.partition("@")
    known = frozenset(point.value for point in Failpoint)
    if re.fullmatch(FAILPOINT_PATTERN, order) is None or name not in known or not _is_action(action):
        message = (
            "APP__FAILPOINT must be <failpoint>:<kill|error|wait>[@<n>], as docs/faults.md lists them. "
            "Leave it empty outside of tests."
        )
        raise AppError(ErrorCode.CONFIG_INVALID, message, faults=[FieldFault("APP__FAILPOINT", message)])
    return Failpoint(name), action, int(count or "1")


def _is_action(text: str) -> TypeGuard[Action]:
    return text in ("kill", "error", "wait")
