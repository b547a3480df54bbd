"""A failpoint fails at its moment, the nth time, once, and nowhere else."""

import errno

import pytest

from model_trainer.core.config import load_settings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import WAIT_SECONDS, Failpoint, OneFailpoint, pass_by


def test_a_process_dies_the_nth_time_it_gets_there_and_only_there() -> None:
    deaths: list[str] = []
    point = OneFailpoint("checkpoint.renamed:kill@2", kill=lambda: deaths.append("dead"))
    point(Failpoint.CHECKPOINT_RENAMED)
    point(Failpoint.CHECKPOINT_BEGUN)
    assert deaths == []
    point(Failpoint.CHECKPOINT_RENAMED)
    assert deaths == ["dead"]
    point(Failpoint.CHECKPOINT_RENAMED)
    assert deaths == ["dead"]


def test_an_error_is_one_of_the_disk() -> None:
    point = OneFailpoint("checkpoint.hashed:error")
    with pytest.raises(OSError, match=r"checkpoint\.hashed") as caught:
        point(Failpoint.CHECKPOINT_HASHED)
    assert caught.value.errno == errno.EIO


def test_a_wait_is_as_long_as_a_slow_disk() -> None:
    waits: list[float] = []
    OneFailpoint("claim.granted:wait", wait=waits.append)(Failpoint.CLAIM_GRANTED)
    assert waits == [WAIT_SECONDS]


def test_in_production_everything_passes_by() -> None:
    for point in Failpoint:
        pass_by(point)
    assert load_settings(env_file=None).app.failpoint is None


@pytest.mark.parametrize(
    "order", ["", "checkpoint.renamed", "no.such:kill", "claim.granted:explode", "claim.granted:kill@0"]
)
def test_an_order_that_means_nothing_is_refused(order: str) -> None:
    with pytest.raises(AppError) as caught:
        OneFailpoint(order)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert "APP__FAILPOINT" in caught.value.message
