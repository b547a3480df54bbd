"""The channel with the owner: opened once, kept, and what is said when the owner cannot be written to."""

from collections.abc import Coroutine

import pytest
import structlog

from model_trainer.core.contracts.feed import WatchState
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.discord_messenger import DiscordMessenger
from model_trainer.discord_bot.notifications.messenger import CannotDeliver
from model_trainer.infra.persistence.memory_watch_list import MemoryWatchList
from tests.e2e.discord_standin import StandIn
from tests.e2e.discord_world import APPLICATION_ID, OWNER_ID, STRANGER_ID, dm_of
from tests.unit.discord_bot.booth import card
from tests.unit.discord_bot.messaging import HOLDER, with_messenger


class Away(MemoryWatchList):
    """A list whose store is away."""

    def load(self) -> WatchState:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Redis is away.")


def sent(standin: StandIn) -> list[str]:
    return [one.path for one in standin.requests if one.method == "POST"]


def test_the_channel_is_opened_once_and_found_again_after_a_restart(
    standin: StandIn, kept: MemoryWatchList
) -> None:
    def send(messenger: DiscordMessenger) -> Coroutine[object, object, str]:
        return messenger.send(card("a"), nonce=f"{len(standin.messages)}")

    for _ in range(2):
        with_messenger(kept, send)

    assert sent(standin).count("/users/@me/channels") == 1
    assert kept.load().channel == f"{OWNER_ID}:{dm_of(OWNER_ID)}"


@pytest.mark.parametrize(
    "written", [f"{STRANGER_ID}:{dm_of(STRANGER_ID)}", dm_of(STRANGER_ID), f"{OWNER_ID}:no", ":", ""]
)
def test_a_channel_of_somebody_else_is_not_spoken_into(
    standin: StandIn, kept: MemoryWatchList, written: str
) -> None:
    kept.keep(HOLDER, channel=written)

    with_messenger(kept, lambda messenger: messenger.send(card("a"), nonce="n"))

    assert len(standin.messages) == 1
    assert kept.load().channel == f"{OWNER_ID}:{dm_of(OWNER_ID)}"


@pytest.mark.parametrize(("status", "code"), [(404, 10003), (403, 50001)])
def test_a_channel_of_another_bot_is_forgotten_and_ours_is_opened(
    standin: StandIn, kept: MemoryWatchList, status: int, code: int
) -> None:
    kept.keep(HOLDER, channel=f"{OWNER_ID}:77")
    standin.fail(status, code=code, path="/channels/77/")

    async def send_twice(messenger: DiscordMessenger) -> None:
        with pytest.raises(CannotDeliver, match=f"{status} {code}"):
            await messenger.send(card("a"), nonce="n")
        await messenger.send(card("a"), nonce="n")

    with_messenger(kept, send_twice)

    assert len(standin.messages) == 1
    assert kept.load().channel == f"{OWNER_ID}:{dm_of(OWNER_ID)}"


def test_the_channel_is_opened_when_what_was_written_down_cannot_be_read_or_kept(standin: StandIn) -> None:
    with_messenger(Away(clock=lambda: 0.0), lambda messenger: messenger.send(card("a"), nonce="n"))

    assert len(standin.messages) == 1


@pytest.mark.parametrize(
    ("owner_id", "why", "way_out"),
    [("5", "owner_unknown", "no user"), (APPLICATION_ID, "owner_is_a_bot", "id of a bot")],
)
def test_an_owner_who_is_none_is_told_in_the_log_once_with_the_way_out(
    standin: StandIn, kept: MemoryWatchList, owner_id: str, why: str, way_out: str
) -> None:
    if owner_id == "5":
        standin.fail(404, code=10013, path="/users/5")

    async def send_twice(messenger: DiscordMessenger) -> list[CannotDeliver]:
        found: list[CannotDeliver] = []
        for _ in range(2):
            with pytest.raises(CannotDeliver) as caught:
                await messenger.send(card("a"), nonce="n")
            found.append(caught.value)
        return found

    with structlog.testing.capture_logs() as lines:
        found = with_messenger(kept, send_twice, owner_id=owner_id)

    assert [(one.why, one.retry_after_seconds) for one in found] == [(why, 30.0)] * 2
    (line,) = [one for one in lines if one["event"] == "discord_owner_unreachable"]
    assert way_out in line["detail"]
    assert "README" in line["detail"]


def test_discord_being_away_says_nothing_of_the_owner(standin: StandIn, kept: MemoryWatchList) -> None:
    standin.fail(503, path=f"/users/{OWNER_ID}")

    with structlog.testing.capture_logs() as lines, pytest.raises(CannotDeliver, match="503 0"):
        with_messenger(kept, lambda messenger: messenger.send(card("a"), nonce="n"))

    assert not [one for one in lines if one["event"] == "discord_owner_unreachable"]


def test_an_owner_who_closes_the_channel_again_is_told_again(standin: StandIn, kept: MemoryWatchList) -> None:
    async def send(messenger: DiscordMessenger) -> None:
        for is_closed in (True, True, False, True):
            standin.close_direct_messages(is_closed)
            if is_closed:
                with pytest.raises(CannotDeliver, match="closed_to_us"):
                    await messenger.send(card("a"), nonce="n")
            else:
                await messenger.send(card("a"), nonce="n")

    with structlog.testing.capture_logs() as lines:
        with_messenger(kept, send)

    told = [one["detail"] for one in lines if one["event"] == "discord_owner_unreachable"]
    assert len(told) == 2
    assert "share a server" in told[0]
