import pytest

from tests.unit.worker.bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
