"""The loops of the maintenance process: what must not wait in one thread, what may take long in others."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from model_trainer.core.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do again and again."""

    do: Callable[[], object]
    every_seconds: float
    """From one end to the next beginning; the first time is at once."""


def run_maintenance(
    *,
    prompt: Sequence[Chore],
    patient: Sequence[Chore],
    remote: Sequence[Chore] = (),
    stop: threading.Event,
) -> None:
    """Works until `stop` is set, and returns when all threads have finished what they were at.

    A chore that raises ends all: whoever keeps this process running starts it again.

    Args:
        prompt: chores that are short and that somebody waits for.
        patient: chores that may take minutes; they delay one another, not the prompt ones.
        remote: chores that wait for another machine, for as long as that takes.
        stop: ends the loops, at once where they wait.
    """
    log.info("maintenance_started")
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="maintenance") as threads:
        beside = [threads.submit(_repeat, chores, stop) for chores in (patient, remote)]
        try:
            _repeat(prompt, stop)
        finally:
            stop.set()
        for each in beside:
            each.result()
    log.info("maintenance_stopped")


def _repeat(chores: Sequence[Chore], stop: threading.Event) -> None:
    due = [0.0 for _ in chores]
    try:
        while not stop.is_set():
            for place, chore in enumerate(chores):
                if time.monotonic() >= due[place] and not stop.is_set():
                    chore.do()
                    due[place] = time.monotonic() + chore.every_seconds
            stop.wait(max(0.0, min(due) - time.monotonic()) if due else None)
    finally:
        stop.set()
