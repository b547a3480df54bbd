"""How long a store that is away is left alone."""

import pytest

from model_trainer.worker.waiting import MOST_WAIT_SECONDS, pause_seconds


@pytest.mark.parametrize(("tries", "seconds"), [(1, 1.0), (2, 2.0), (5, 16.0)])
def test_pauses_double_with_some_jitter(tries: int, seconds: float) -> None:
    assert 0.8 * seconds <= pause_seconds(tries, first_seconds=1.0) <= 1.2 * seconds


@pytest.mark.parametrize("tries", [9, 500])
def test_no_pause_is_longer_than_a_minute(tries: int) -> None:
    assert pause_seconds(tries, first_seconds=1.0) == MOST_WAIT_SECONDS == 60
