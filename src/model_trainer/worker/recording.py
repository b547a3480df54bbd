"""Telling the store about a run, when it may be away for a moment."""

import time
from collections.abc import Callable
from typing import TypeVar

from model_trainer.core.contracts.run import Lease, RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore

log = get_logger(__name__)

AGAIN_SECONDS = 0.5
"""Between two tries."""

Answer = TypeVar("Answer")


def patiently(ask: Callable[[], Answer], *, seconds: float) -> Answer:
    """What `ask` returns. A store that is away is asked again for so many seconds; every other error passes."""
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except AppError as error:
            if (
                error.code is not ErrorCode.STORE_UNAVAILABLE
                or time.monotonic() + AGAIN_SECONDS >= give_up_at
            ):
                raise
        time.sleep(AGAIN_SECONDS)


def recorded(lease: Lease, ask: Callable[[], RunRecord]) -> RunRecord | None:
    """What `ask` returns. A store that is away is asked again for as long as the lease lasts without renewal; after that,
    or when another owner has the run, the reaper decides."""
    try:
        return patiently(ask, seconds=lease.lease_seconds)
    except AppError as error:
        log.error("run_not_recorded", error_code=error.code.value, detail=error.message)
        return None


def accounted(runs: RunStore, run_id: str) -> None:
    """Tells the store that the end of a run is on disk; unsaid, the maintenance process sees to it once more."""
    try:
        runs.accounted(run_id)
    except AppError as error:
        log.warning("account_not_told", run_id=run_id, error_code=error.code.value)
