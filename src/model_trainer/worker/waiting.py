"""Waiting for the artifact store under a lease: growing, jittered pauses in which everybody who wants the job to stop is heard."""

import random
import time

from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.outcomes import backoff_seconds

log = get_logger(__name__)

LOOK_SECONDS = 0.05
"""Between two looks at whether somebody wants the job to stop."""
FIRST_WAIT_SECONDS = 1.0
MOST_WAIT_SECONDS = 60.0


def wait_for_store(held: HeldRun, error: AppError, *, tries: int, first_wait_seconds: float) -> None:
    """Waits after so many tries that have failed, the last of them with `error`. Raises what held.check() does."""
    seconds = pause_seconds(tries, first_seconds=first_wait_seconds)
    log.warning(
        "artifact_store_away",
        attempt=tries,
        error_code=error.code.value,
        detail=error.message,
        duration_seconds=seconds,
    )
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        held.report(
            0.0, f"The artifact store is away or full; it is asked again in {left:.0f} s. Nothing is lost."
        )
        time.sleep(min(LOOK_SECONDS, left))


def pause_seconds(tries: int, *, first_seconds: float) -> float:
    """How long to wait after so many tries: doubles each time up to a minute, with jitter below that."""
    backoff = backoff_seconds(tries, base=first_seconds, source=random.Random())
    return min(MOST_WAIT_SECONDS, backoff)
