"""A bound on memory: it holds inside, it goes with the block, and it never widens another."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_trainer.core.compute.memory_limit import at_most_more

MANY, SOME = 300_000_000, 100_000_000


@pytest.fixture(autouse=True)
def limit() -> Iterator[tuple[int, int]]:
    """What stood before; it stands again after each test, whatever happens in it."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    yield before
    resource.setrlimit(resource.RLIMIT_DATA, before)


def test_inside_there_is_so_much_more_memory_and_no_more(limit: tuple[int, int]) -> None:
    with at_most_more(SOME * 2):
        assert len(bytearray(SOME)) == SOME
        with pytest.raises(MemoryError):
            bytearray(MANY)
    assert resource.getrlimit(resource.RLIMIT_DATA) == limit
    assert len(bytearray(MANY)) == MANY


def test_the_bound_goes_with_an_error_too(limit: tuple[int, int]) -> None:
    with pytest.raises(MemoryError), at_most_more(SOME):
        bytearray(MANY)
    assert resource.getrlimit(resource.RLIMIT_DATA) == limit


def test_a_narrower_bound_stays_as_it_is() -> None:
    with at_most_more(SOME):
        narrow = resource.getrlimit(resource.RLIMIT_DATA)
        with at_most_more(MANY):
            assert resource.getrlimit(resource.RLIMIT_DATA) == narrow
        with at_most_more(SOME // 2):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] < narrow[0]
        assert resource.getrlimit(resource.RLIMIT_DATA) == narrow


def test_where_nobody_tells_what_a_process_has_nothing_is_bounded(
    limit: tuple[int, int], tmp_path: Path
) -> None:
    with at_most_more(SOME, status=tmp_path / "status"):
        assert resource.getrlimit(resource.RLIMIT_DATA) == limit
