"""The maintenance loop goes on until it is told to stop, whatever the store does."""

import threading
from pathlib import Path

from model_trainer.core.config.settings import CleanupSettings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.maintenance.leftovers import LeftoverCleaner
from model_trainer.maintenance.run import run_maintenance


class StopsAfter:
    """A store that is away at first, and ends the loop at its last look."""

    def __init__(self, looks: int, stop: threading.Event) -> None:
        self.looks = 0
        self._last = looks
        self._stop = stop

    def reap(self) -> tuple[str, ...]:
        self.looks += 1
        if self.looks == self._last:
            self._stop.set()
        if self.looks == 1:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Redis does not answer.")
        return ()

    def unaccounted(self, limit: int) -> tuple[str, ...]:
        return (f"R{self.looks}",)[:limit]


class CountingCleaner(LeftoverCleaner):
    """Counts rounds instead of removing anything."""

    rounds = 0

    def __init__(self) -> None:
        policy = CleanupSettings(enabled=True, dry_run=True, grace_period_seconds=0)
        super().__init__(roots=(), cache_folder=Path("no-such-folder"), policy=policy)

    def clean(self) -> int:
        self.rounds += 1
        return 0


def nothing(_run_ids: tuple[str, ...]) -> None:
    """Nobody wants to know."""


def test_it_looks_often_and_cleans_seldom_and_survives_an_outage() -> None:
    stop = threading.Event()
    store, cleaner = StopsAfter(5, stop), CountingCleaner()

    run_maintenance(
        store, cleaner, close_accounts=nothing, reap_every_seconds=0, clean_every_seconds=3600, stop=stop
    )

    assert store.looks == 5
    assert cleaner.rounds == 1


def test_ends_are_accounted_for_in_every_round_whatever_the_reaper_found() -> None:
    stop = threading.Event()
    closed: list[tuple[str, ...]] = []

    run_maintenance(
        StopsAfter(3, stop), CountingCleaner(), close_accounts=closed.append, reap_every_seconds=0, stop=stop
    )

    assert closed == [("R1",), ("R2",), ("R3",)]


def test_it_cleans_again_when_it_is_time() -> None:
    stop = threading.Event()
    store, cleaner = StopsAfter(3, stop), CountingCleaner()

    run_maintenance(
        store, cleaner, close_accounts=nothing, reap_every_seconds=0, clean_every_seconds=0, stop=stop
    )

    assert cleaner.rounds == 3


def test_a_stop_before_the_start_does_nothing() -> None:
    stop = threading.Event()
    stop.set()
    store = StopsAfter(9, stop)

    run_maintenance(store, CountingCleaner(), close_accounts=nothing, reap_every_seconds=3600, stop=stop)

    assert store.looks == 0
