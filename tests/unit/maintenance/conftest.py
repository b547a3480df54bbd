"""A room of each test's own."""

from pathlib import Path

import pytest

from tests.unit.maintenance.room import Room
from tests.unit.worker.sealed import House


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """A house with somebody who looks after it."""
    return Room(House(tmp_path))
