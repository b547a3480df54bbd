from pathlib import Path

import pytest

from tests.unit.worker.bench import Bench, Life


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def life(bench: Bench, tmp_path: Path) -> Life:
    return Life(bench, tmp_path)
