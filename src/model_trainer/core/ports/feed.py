"""What those need who follow all runs at once, and must lose nothing while they or the store are away."""

from collections.abc import Collection, Mapping
from typing import Protocol

from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.feed import FeedPage, WatchState


class EventFeed(Protocol):
    """One ordered feed of all runs' events. Reading raises STORE_UNAVAILABLE when the store cannot be reached."""

    def read(self, *, after: str, limit: int) -> FeedPage:
        """Up to `limit` events behind a position; FeedPage.position is where to read on."""
        ...

    def end(self) -> str:
        """The position of the newest event: who reads from here on hears only what is still to come."""
        ...

    def of_run(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
        """Events of one run with seq > after, in order, from its own stream, which is whole. An unknown run has none."""
        ...

    async def wait(self, *, timeout_seconds: float) -> None:
        """Returns at news of any run, or at the timeout. Losing a signal costs the timeout, never an event."""
        ...

    async def close(self) -> None:
        """Ends the subscription."""
        ...


class WatchList(Protocol):
    """What a follower of the feed writes down, so that it goes on where it was after it has died. One at a time holds it.

    Raises STORE_UNAVAILABLE when the store cannot be reached.
    """

    def hold(self, holder: str, *, seconds: float) -> bool:
        """Holds the list for so long, or longer if it is held by the same; False when somebody else holds it."""
        ...

    def let_go(self, holder: str) -> None:
        """Gives the list up; nothing happens when somebody else holds it."""
        ...

    def load(self) -> WatchState:
        """All that is written down."""
        ...

    def keep(
        self,
        holder: str,
        *,
        position: str | None = None,
        channel: str | None = None,
        notes: Mapping[str, str] | None = None,
        gone: Collection[str] = (),
    ) -> None:
        """Writes down what is given, in one step: `notes` by run id take the place of earlier ones, those of `gone` are
        removed, the rest stays. Raises LEASE_LOST, and writes nothing, for somebody who does not hold the list."""
        ...
