"""Over which store the integration tests run: in memory, in Redis, and in a Redis whose calls fail now and then.

Each test draws its faults from a seed of its own; `FAULT_SEEDS=20 pytest tests/integration` runs it with so many.
"""

import os
from collections.abc import Callable, Mapping
from zlib import crc32

import pytest

from tests.faults.faulty_workshop import FaultyWorkshop
from tests.integration.workshop import Workshop

MakeWorkshop = Callable[..., Workshop]
SEEDS = range(int(os.environ.get("FAULT_SEEDS", "1")))
STORES = ["memory", *[f"faulty redis {seed}" for seed in SEEDS]]


@pytest.fixture(params=STORES)
def make_workshop(request: pytest.FixtureRequest) -> MakeWorkshop:
    """Makes a workshop with these files under its data root."""
    name, _, seed = request.param.rpartition(" ")
    if not name:
        return Workshop
    url: str = request.getfixturevalue("redis_url")

    def make(files: Mapping[str, str | bytes] | None = None) -> Workshop:
        drawn = crc32(request.node.name.encode()) + int(seed)
        return FaultyWorkshop(files, redis_url=url, seed=drawn)

    return make
