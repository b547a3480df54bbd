"""Something is away for a while."""

import pytest
from structlog.testing import capture_logs

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.notifications.outage import Outage
from tests.unit.discord_bot.virtual_time import now, run


def test_pauses_grow_up_to_half_a_minute_and_begin_anew() -> None:
    outage = Outage("store")
    assert [outage.failed("away") for _ in range(9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    outage.over()
    assert outage.failed("away") == 0.5


def test_a_longer_pause_that_was_asked_for_is_kept() -> None:
    outage = Outage("discord")
    assert outage.failed("limited", at_least_seconds=77.0) == 77.0
    assert outage.failed("limited", at_least_seconds=0.1) == 1.0


def test_an_outage_has_one_line_at_its_begin_and_one_at_its_end() -> None:
    outage = Outage("store")
    with capture_logs() as lines:
        outage.over()
        for _ in range(5):
            outage.failed("no route")
        for _ in range(5):
            outage.over()
    assert [(line["event"], line["log_level"], line.get("detail")) for line in lines] == [
        ("outage_began", "warning", "store: no route"),
        ("outage_over", "info", "store"),
    ]


def test_a_question_is_asked_until_the_store_answers() -> None:
    async def test() -> None:
        tries: list[float] = []

        async def question() -> str:
            tries.append(now() - begin)
            if len(tries) < 4:
                raise AppError(ErrorCode.STORE_UNAVAILABLE, "away")
            return "answer"

        begin = now()
        assert await Outage("store").bear(question) == "answer"
        assert tries == pytest.approx([0.0, 0.5, 1.5, 3.5])

    run(test)


def test_other_errors_go_through() -> None:
    async def test() -> None:
        async def question() -> None:
            raise AppError(ErrorCode.LEASE_LOST, "lost")

        with pytest.raises(AppError, match="lost"):
            await Outage("store").bear(question)

    run(test)
