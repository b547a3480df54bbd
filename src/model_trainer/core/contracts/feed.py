"""The feed: the events of all runs in one order, each at a position."""

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.events import StoredEvent

START = "0-0"
"""The position before everything that was ever told."""


class FeedItem(Contract):
    """One event of one run, with its place among the events of all runs."""

    position: str
    stored: StoredEvent

    @property
    def run_id(self) -> str:
        """Whose event it is."""
        return self.stored.event.job_id


class FeedPage(Contract):
    """What came behind a position."""

    items: tuple[FeedItem, ...]
    """In order. Events of a version that is not known here are left out."""
    position: str
    """Behind everything this page covers, what it leaves out included: where to read on."""
    num_unknown: int
    """How many events were left out."""
    has_gap: bool
    """Events behind the asked position are in the feed no more: it keeps a bounded number, and Redis may have been lost.
    The runs' own streams still have them."""
    has_more: bool
    """Whether to read on at once."""


class WatchState(Contract):
    """What a follower of the feed has written down."""

    position: str | None
    """How far it has read; None: it never did."""
    channel: str | None
    """Where it speaks to its owner."""
    notes: dict[str, str]
    """By run id: what it needs to know of each run it follows, in its own words."""
