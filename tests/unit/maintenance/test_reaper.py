"""The reaper counts what the store rescued, and waits for a store that is away."""

import pytest
from structlog.testing import capture_logs

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.maintenance.reaper import Reaper


class Store:
    """Answers reap() with what was prepared."""

    def __init__(self, *answers: tuple[str, ...] | AppError) -> None:
        self._answers = list(answers)

    def reap(self) -> tuple[str, ...]:
        answer = self._answers.pop(0)
        if isinstance(answer, AppError):
            raise answer
        return answer


AWAY = AppError(ErrorCode.STORE_UNAVAILABLE, "Redis does not answer.")


def nothing(_run_ids: tuple[str, ...]) -> None:
    """Nobody wants to know."""


def test_rescued_runs_are_counted_logged_and_handed_on() -> None:
    touched: list[tuple[str, ...]] = []
    with capture_logs() as lines:
        assert Reaper(Store(("R1", "R2")), then=touched.append).reap() == 2

    (line,) = lines
    assert line["event"] == "stale_runs_rescued"
    assert line["num_rescued"] == 2
    assert line["detail"] == "R1 R2"
    assert touched == [("R1", "R2")]


def test_nothing_lost_is_not_news() -> None:
    with capture_logs() as lines:
        assert Reaper(Store(()), then=nothing).reap() == 0

    assert lines == []


def test_an_outage_of_the_store_is_logged_once_at_each_end() -> None:
    reaper = Reaper(Store(AWAY, AWAY, ("R1",), (), AWAY), then=nothing)

    with capture_logs() as lines:
        rescued = [reaper.reap() for _ in range(5)]

    assert rescued == [0, 0, 1, 0, 0]
    assert [line["event"] for line in lines] == [
        "store_unavailable",
        "store_available",
        "stale_runs_rescued",
        "store_unavailable",
    ]


def test_a_fault_that_waiting_does_not_mend_is_passed_on() -> None:
    with pytest.raises(AppError, match="defect"):
        Reaper(Store(AppError(ErrorCode.INTERNAL, "a defect")), then=nothing).reap()
