"""A stand-in for Discord, and a watch list that is held, for those who write to the owner."""

from collections.abc import Iterator

import pytest

from model_trainer.infra.persistence.memory_watch_list import MemoryWatchList
from tests.e2e.discord_standin import StandIn, pointed_at
from tests.unit.discord_bot.messaging import HOLDER


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as found, pointed_at(found):
        yield found


@pytest.fixture
def kept() -> MemoryWatchList:
    """A list that is held."""
    found = MemoryWatchList(clock=lambda: 0.0)
    found.hold(HOLDER, seconds=60.0)
    return found
