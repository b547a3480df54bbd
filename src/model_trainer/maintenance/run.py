"""The loop of the maintenance process: lost runs and ends to account for often, leftovers now and then."""

import threading
import time
from collections.abc import Callable

from model_trainer.core.logging import get_logger
from model_trainer.maintenance.leftovers import LeftoverCleaner
from model_trainer.maintenance.reaper import Reaper, StaleRuns

log = get_logger(__name__)


def run_maintenance(
    store: StaleRuns,
    cleaner: LeftoverCleaner,
    *,
    close_accounts: Callable[[tuple[str, ...]], None],
    reap_every_seconds: float,
    clean_every_seconds: float = 600.0,
    stop: threading.Event,
) -> None:
    """Works until `stop` is set. A store that cannot be reached does not end it.

    Args:
        store: what knows lost runs, and ends that are not on disk.
        cleaner: what removes leftovers.
        close_accounts: brings the ends of these runs to disk, and tells the store of each it brought.
        reap_every_seconds: between two looks for lost runs.
        clean_every_seconds: between two clean-ups, which walk through all folders; the first is at once.
        stop: ends the loop, at once when it waits.
    """
    reaper = Reaper(store, close_accounts=close_accounts)
    clean_at = time.monotonic()
    log.info("maintenance_started")
    while not stop.is_set():
        reaper.reap()
        reaper.account()
        if time.monotonic() >= clean_at:
            cleaner.clean()
            clean_at = time.monotonic() + clean_every_seconds
        stop.wait(reap_every_seconds)
    log.info("maintenance_stopped")
