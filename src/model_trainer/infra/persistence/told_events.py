"""What an owner has told already: makes it safe to send events, and an end, again after replies were lost."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from model_trainer.core.contracts.events import Event
from model_trainer.core.contracts.run import Lease
from model_trainer.core.errors import AppError

ToldBefore = Callable[[], int | None]
"""Asks the store how many events of this lease it has; None after a rebuild, when it takes the owner's word for it."""


class ToldEvents:
    """Numbers the events of each lease. One change per lease at a time, so that the numbers stay true."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leases: dict[tuple[str, int, str], _Told] = {}

    @contextmanager
    def sending(self, lease: Lease, events: tuple[Event, ...], *, told_before: ToldBefore) -> Iterator[int]:
        """Inside, the call is made; gives the position of its first event among all of this lease.

        As far as events begin like those of a failed call, they are taken for the same ones, sent again.
        """
        told = self._of(lease)
        with told.lock:
            position = told.position_of(events, told_before=told_before)
            try:
                yield position
            except AppError:
                told.failed(events)
                raise
            told.succeeded(events)

    def token_of_end(self, lease: Lease) -> str:
        """Marks the one call that ends this lease, so that the store knows it again when its reply was lost."""
        return self._of(lease).token

    def forget(self, lease: Lease) -> None:
        """The lease is over."""
        with self._lock:
            self._leases.pop(_key(lease), None)

    def _of(self, lease: Lease) -> "_Told":
        with self._lock:
            return self._leases.setdefault(_key(lease), _Told())


class _Told:
    """One lease: how many events are there for sure, and those sent after them of which nobody knows."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.token = uuid4().hex
        self._sure: int | None = None
        self._unsure: tuple[Event, ...] = ()

    def position_of(self, events: tuple[Event, ...], *, told_before: ToldBefore) -> int:
        """Only the store knows it at the first call, and when other events come than those that are unsure."""
        if self._sure is None:
            self._sure = told_before() or 0
            return self._sure
        same = _same_at_the_start(events, self._unsure)
        if same < min(len(events), len(self._unsure)):
            there = told_before()
            again = 0 if there is None else min(same, there - self._sure)
            self._sure = self._sure if there is None else there - again
            self._unsure = events[:again]
        return self._sure

    def failed(self, events: tuple[Event, ...]) -> None:
        if len(events) > len(self._unsure):
            self._unsure = events

    def succeeded(self, events: tuple[Event, ...]) -> None:
        self._sure = (self._sure or 0) + len(events)
        self._unsure = self._unsure[len(events) :]


def _same_at_the_start(one: tuple[Event, ...], other: tuple[Event, ...]) -> int:
    pairs = zip(one, other, strict=False)
    return next(
        (at for at, (left, right) in enumerate(pairs) if left != right),
        min(len(one), len(other)),
    )


def _key(lease: Lease) -> tuple[str, int, str]:
    return lease.run_id, lease.epoch, lease.owner
