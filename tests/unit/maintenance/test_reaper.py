"""The reaper counts what the store rescued, and waits for a store that is away."""

import pytest
from structlog.testing import capture_logs

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.maintenance.reaper import Reaper


class Store:
    """Answers reap() and unaccounted() with what was prepared."""

    def __init__(self, *answers: tuple[str, ...] | AppError) -> None:
        self._answers = list(answers)

    def reap(self) -> tuple[str, ...]:
        answer = self._answers.pop(0)
        if isinstance(answer, AppError):
            raise answer
        return answer

    def unaccounted(self, limit: int) -> tuple[str, ...]:
        return self.reap()[:limit]


AWAY = AppError(ErrorCode.STORE_UNAVAILABLE, "Redis does not answer.")
DEFECT = AppError(ErrorCode.INTERNAL, "a defect")


def nothing(_run_ids: tuple[str, ...]) -> None:
    """Nobody wants to know."""


def test_rescued_runs_are_counted_and_logged() -> None:
    with capture_logs() as lines:
        assert Reaper(Store(("R1", "R2")), close_accounts=nothing).reap() == 2

    (line,) = lines
    assert line["event"] == "stale_runs_rescued"
    assert line["num_rescued"] == 2
    assert line["detail"] == "R1 R2"


def test_nothing_lost_is_not_news() -> None:
    with capture_logs() as lines:
        assert Reaper(Store(()), close_accounts=nothing).reap() == 0

    assert lines == []


def test_an_outage_of_the_store_is_logged_once_at_each_end() -> None:
    reaper = Reaper(Store(AWAY, AWAY, ("R1",), (), AWAY), close_accounts=nothing)

    with capture_logs() as lines:
        rescued = [reaper.reap() for _ in range(5)]

    assert rescued == [0, 0, 1, 0, 0]
    assert [line["event"] for line in lines] == [
        "store_unavailable",
        "store_available",
        "stale_runs_rescued",
        "store_unavailable",
    ]


def test_a_fault_of_one_look_does_not_keep_the_next_from_rescuing() -> None:
    reaper = Reaper(Store(DEFECT, ("R1",)), close_accounts=nothing)

    with capture_logs() as lines:
        assert [reaper.reap(), reaper.reap()] == [0, 1]

    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("maintenance_failed", "error"),
        ("stale_runs_rescued", "warning"),
    ]
    assert lines[0]["detail"] == "a defect"


def test_ends_that_nobody_accounted_for_are_handed_on() -> None:
    closed: list[tuple[str, ...]] = []
    Reaper(Store(("R1", "R2")), close_accounts=closed.append).account()
    assert closed == [("R1",), ("R2",)]


@pytest.mark.parametrize("error", [DEFECT, OSError("the disk"), ValueError("not JSON")])
def test_an_account_that_cannot_be_closed_delays_no_other(error: Exception) -> None:
    closed: list[tuple[str, ...]] = []

    def close(run_ids: tuple[str, ...]) -> None:
        if run_ids == ("R1",):
            raise error
        closed.append(run_ids)

    with capture_logs() as lines:
        Reaper(Store(("R1", "R2")), close_accounts=close).account()

    assert closed == [("R2",)]
    assert [(line["event"], line["run_id"]) for line in lines] == [("account_not_closed", "R1")]


def test_an_outage_between_the_looks_is_one_outage() -> None:
    reaper = Reaper(Store(AWAY, AWAY, (), ()), close_accounts=nothing)

    with capture_logs() as lines:
        for _ in range(2):
            reaper.reap()
            reaper.account()

    assert [line["event"] for line in lines] == ["store_unavailable", "store_available"]
