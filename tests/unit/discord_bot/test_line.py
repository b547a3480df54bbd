"""The line to Discord: what is tried again, how soon, and what is not."""

import asyncio
from collections.abc import Iterator

import pytest
import structlog
from pydantic import SecretStr

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.bot import Bot
from model_trainer.discord_bot.gate import Gate
from model_trainer.discord_bot.line import LONGEST_PAUSE_SECONDS, Line, end
from tests.e2e.discord_standin import StandIn, pointed_at
from tests.e2e.discord_world import OWNER_ID
from tests.unit.discord_bot.booth import Scripted, running


@pytest.fixture
def discord() -> Iterator[StandIn]:
    with StandIn() as standin, pointed_at(standin):
        yield standin


class Paused(Exception):
    """Enough was slept."""


class Patience:
    """Remembers the pauses, and takes none of them."""

    def __init__(self, times: int) -> None:
        self.pauses: list[float] = []
        self._times = times

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == self._times:
            raise Paused


async def new_bot() -> Bot:
    return Bot(Scripted(), Gate(int(OWNER_ID)), hints={})


def test_a_wrong_token_is_not_tried_again(discord: StandIn) -> None:
    line = Line(SecretStr("wrong"), new_bot)

    with pytest.raises(AppError, match="Reset Token") as caught:
        asyncio.run(line.keep_up())

    assert caught.value.code is ErrorCode.UNAUTHORIZED
    assert len(discord.requests) == 1
    assert line.bot() is None


def test_a_token_that_is_taken_back_ends_the_bot_too(discord: StandIn) -> None:
    with running(Line(SecretStr(discord.token), new_bot).keep_up) as found:
        discord.wait_until_connected()
        discord.drop_gateway(4004)
        assert found.ended.wait(30)

    (error,) = found.errors
    assert isinstance(error, AppError)
    assert (error.code, "DISCORD_TOKEN" in error.message) == (ErrorCode.UNAUTHORIZED, True)


@pytest.mark.parametrize("code", [4013, 4014])
def test_what_discord_ends_for_good_is_told_with_its_code(discord: StandIn, code: int) -> None:
    with running(Line(SecretStr(discord.token), new_bot).keep_up) as found:
        discord.wait_until_connected()
        discord.drop_gateway(code)
        assert found.ended.wait(30)

    (error,) = found.errors
    assert isinstance(error, AppError)
    assert (error.code, str(code) in error.message) == (ErrorCode.INTERNAL, True)


def test_discord_being_away_is_waited_for_with_growing_pauses_and_told_once(discord: StandIn) -> None:
    discord.fail(503, path="/users/@me")
    patience = Patience(8)

    with structlog.testing.capture_logs() as lines, pytest.raises(Paused):
        asyncio.run(Line(SecretStr(discord.token), new_bot, sleep=patience).keep_up())

    assert patience.pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    assert [(one["event"], one["detail"]) for one in lines] == [("discord_unreachable", "503 0")]


def test_a_login_that_worked_at_last_is_the_only_one(discord: StandIn) -> None:
    discord.fail(503, path="/users/@me", times=2)
    patience = Patience(3)
    line = Line(SecretStr(discord.token), new_bot, sleep=patience)

    with running(line.keep_up):
        discord.wait_until_connected()
        bot = line.bot()

    assert bot is not None
    assert patience.pauses == [1, 2]
    assert len(discord.gateway.sessions) == 1
    assert bot.is_closed()
    assert line.bot() is None


def test_commands_that_discord_does_not_take_now_are_registered_later(discord: StandIn) -> None:
    discord.fail(503, method="PUT", times=2)
    patience = Patience(3)

    with running(Line(SecretStr(discord.token), new_bot, sleep=patience).keep_up):
        discord.wait_until_connected()

    assert patience.pauses == [1, 2]


def test_commands_that_the_portal_does_not_allow_say_what_to_tick_there(discord: StandIn) -> None:
    fault = discord.fail(400, method="PUT", code=50035)
    patience = Patience(3)

    with (
        structlog.testing.capture_logs() as lines,
        running(Line(SecretStr(discord.token), new_bot, sleep=patience).keep_up),
    ):
        discord.wait(lambda: fault.hits == 3 and discord.gateway.is_connected, "three tries")

    (line,) = [one for one in lines if one["event"] == "discord_commands_not_registered"]
    assert "User Install" in line["detail"]


class SlowBot(Bot):
    """Takes an hour to say goodbye."""

    async def close(self) -> None:
        await self.ws.close(code=1000)
        await asyncio.sleep(3600)


def test_a_discord_that_does_not_say_goodbye_is_not_waited_for(
    discord: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_trainer.discord_bot.line.CLOSE_SECONDS", 0.05)

    async def new_slow_bot() -> Bot:
        return SlowBot(Scripted(), Gate(int(OWNER_ID)), hints={})

    line = Line(SecretStr(discord.token), new_slow_bot)
    with running(line.keep_up):
        discord.wait_until_connected()

    assert line.bot() is None


def test_a_task_that_forgets_a_cancellation_is_cancelled_again() -> None:
    async def forgetful() -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue
        await asyncio.sleep(3600)

    async def run() -> bool:
        task = asyncio.create_task(forgetful())
        await asyncio.sleep(0)
        await end(task)
        return task.cancelled()

    assert asyncio.run(run())
