"""The owner's channel before a stand-in for Discord: what is sent and found, and what each refusal comes to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import discord
import pytest
import structlog

from model_trainer.core.contracts.feed import WatchState
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.cards.card import Button, Card, Field, Picture, SafeText, Tone
from model_trainer.discord_bot.discord_messenger import DiscordMessenger
from model_trainer.discord_bot.notifications.messenger import CannotDeliver, MessageGone
from model_trainer.discord_bot.owners_channel import OwnersChannel
from model_trainer.infra.persistence.memory_watch_list import MemoryWatchList
from tests.e2e.discord_standin import TOKEN, StandIn, pointed_at
from tests.e2e.discord_world import APPLICATION_ID, OWNER_ID, PNG, STRANGER_ID, dm_of
from tests.unit.discord_bot.booth import card

T = TypeVar("T")
HOLDER = "01JD000000000000000000HOLD"
MARK = "01JD0000000000000000000000"


class Away(MemoryWatchList):
    """A list whose store is away."""

    def load(self) -> WatchState:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Redis is away.")


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as found, pointed_at(found):
        yield found


@pytest.fixture
def kept() -> MemoryWatchList:
    """A list that is held."""
    found = MemoryWatchList(clock=lambda: 0.0)
    found.hold(HOLDER, seconds=60.0)
    return found


@asynccontextmanager
async def opened(
    kept: MemoryWatchList,
    *,
    owner_id: str = OWNER_ID,
    patience_seconds: float = 20.0,
) -> AsyncIterator[DiscordMessenger]:
    client = discord.Client(intents=discord.Intents(guilds=True), max_ratelimit_timeout=30.0)
    channel = OwnersChannel(int(owner_id), kept, holder=HOLDER)
    try:
        await client.login(TOKEN)
        yield DiscordMessenger(lambda: client, channel, patience_seconds=patience_seconds)
    finally:
        await client.close()


def with_messenger(
    kept: MemoryWatchList,
    action: Callable[[DiscordMessenger], Coroutine[object, object, T]],
    *,
    owner_id: str = OWNER_ID,
    patience_seconds: float = 20.0,
) -> T:
    """What `action` comes to."""

    async def run() -> T:
        async with opened(kept, owner_id=owner_id, patience_seconds=patience_seconds) as messenger:
            return await action(messenger)

    return asyncio.run(run())


def sent(standin: StandIn) -> list[str]:
    return [one.path for one in standin.requests if one.method == "POST"]


def test_a_card_is_one_message_with_all_it_has(standin: StandIn, kept: MemoryWatchList) -> None:
    whole = Card(
        title=SafeText("Training"),
        text=SafeText("It goes on."),
        fields=(
            Field(SafeText("Loss"), SafeText("2.5")),
            Field(SafeText("Long"), SafeText("one"), is_short=False),
        ),
        tone="running",
        mark=MARK,
        buttons=(Button(SafeText("Pause"), "p"), Button(SafeText("Cancel"), "c", "danger")),
        picture=Picture("loss.png", PNG),
    )

    message_id = with_messenger(kept, lambda messenger: messenger.send(whole, nonce="n1"))

    (said,) = standin.messages
    now = said.now
    assert (said.id, said.nonce, now.title, now.mark) == (message_id, "n1", "Training", MARK)
    assert now.fields == {"Loss": "2.5", "Long": "one"}
    assert [(button.label, button.custom_id, button.style) for button in now.buttons.values()] == [
        ("Pause", "p", 2),
        ("Cancel", "c", 4),
    ]
    assert now.pictures == [PNG]
    (request,) = [one for one in standin.requests if one.path.endswith("/messages")]
    for part in (b'"allowed_mentions":{"parse":[]}', b'"enforce_nonce":true', b'"inline":false'):
        assert part in request.body.replace(b" ", b"")
    assert b"attachment://loss.png" in request.body


def test_each_tone_has_a_colour_of_its_own(standin: StandIn, kept: MemoryWatchList) -> None:
    tones: tuple[Tone, ...] = ("waiting", "running", "still", "good", "bad", "plain")

    async def send_all(messenger: DiscordMessenger) -> None:
        for tone in tones:
            await messenger.send(Card(title=SafeText("x"), tone=tone), nonce=tone)

    with_messenger(kept, send_all)

    bodies = [json.loads(one.body) for one in standin.requests if one.path.endswith("/messages")]
    assert len({body["embeds"][0]["color"] for body in bodies}) == len(tones)


def test_the_same_nonce_makes_no_second_message(standin: StandIn, kept: MemoryWatchList) -> None:
    async def send_twice(messenger: DiscordMessenger) -> tuple[str, str]:
        return await messenger.send(card("a"), nonce="n"), await messenger.send(card("a"), nonce="n")

    first, second = with_messenger(kept, send_twice)

    assert first == second
    assert len(standin.messages) == 1


def test_an_edit_replaces_everything_its_picture_too(standin: StandIn, kept: MemoryWatchList) -> None:
    async def edit(messenger: DiscordMessenger) -> None:
        buttons = (Button(SafeText("Pause"), "p"),)
        first = Card(title=SafeText("a"), buttons=buttons, picture=Picture("loss.png", PNG))
        message_id = await messenger.send(first, nonce="n")
        await messenger.edit(message_id, card("b"))

    with_messenger(kept, edit)

    (said,) = standin.messages
    assert (said.now.title, said.now.pictures, said.now.buttons) == ("b", [], {})


def test_a_message_is_found_by_its_mark_and_answers_to_commands_are_not(
    standin: StandIn, kept: MemoryWatchList
) -> None:
    async def search(messenger: DiscordMessenger) -> tuple[str | None, str | None, str, str]:
        marked = Card(title=SafeText("x"), mark=MARK)
        await messenger.send(marked, nonce="1")
        newest = await messenger.send(marked, nonce="2")
        answer = await messenger.send(marked, nonce="3")
        await messenger.send(Card(title=SafeText(MARK), text=SafeText(MARK)), nonce="4")
        message = standin.world.messages[dm_of(OWNER_ID)]
        message[answer].answers = standin.world.ask("/status", user_id=OWNER_ID, channel_id=dm_of(OWNER_ID))
        foreign = await messenger.send(Card(title=SafeText("x"), mark="other"), nonce="5")
        message[foreign].author_id = STRANGER_ID
        return await messenger.find(MARK), await messenger.find("other"), newest, answer

    found, of_stranger, newest, answer = with_messenger(kept, search)

    assert (found, of_stranger) == (newest, None)
    assert found != answer


def test_a_message_that_somebody_deleted_is_gone(standin: StandIn, kept: MemoryWatchList) -> None:
    async def edit(messenger: DiscordMessenger) -> None:
        message_id = await messenger.send(card("a"), nonce="n")
        standin.world.delete(standin.messages[0])
        await messenger.edit(message_id, card("b"))

    with pytest.raises(MessageGone):
        with_messenger(kept, edit)


@pytest.mark.parametrize(
    ("status", "code", "why", "pause"),
    [
        (403, 50007, "closed_to_us", 30.0),
        (401, 0, "401 0", None),
        (400, 50035, "400 50035", None),
        (503, 0, "503 0", None),
    ],
)
def test_each_refusal_is_a_word_for_the_log_and_maybe_a_pause(
    standin: StandIn, kept: MemoryWatchList, status: int, code: int, why: str, pause: float | None
) -> None:
    standin.fail(status, code=code, method="POST", path="/messages")

    with pytest.raises(CannotDeliver) as caught:
        with_messenger(kept, lambda messenger: messenger.send(card("a"), nonce="n"))

    assert (caught.value.why, caught.value.retry_after_seconds) == (why, pause)


def test_a_long_rate_limit_is_handed_on_with_its_time(standin: StandIn, kept: MemoryWatchList) -> None:
    standin.limit(77.0, path="/messages")

    with pytest.raises(CannotDeliver) as caught:
        with_messenger(kept, lambda messenger: messenger.send(card("a"), nonce="n"))

    assert (caught.value.why, caught.value.retry_after_seconds) == ("rate_limited", 77.0)


def test_a_rate_limit_that_does_not_say_how_long_is_sat_out(standin: StandIn, kept: MemoryWatchList) -> None:
    fault = standin.fail(429, path="/messages")
    fault.headers = {}

    with pytest.raises(CannotDeliver) as caught:
        with_messenger(kept, lambda messenger: messenger.send(card("a"), nonce="n"))

    assert (caught.value.why, caught.value.retry_after_seconds) == ("rate_limited", 30.0)


def test_a_lost_connection_is_no_delivery(standin: StandIn, kept: MemoryWatchList) -> None:
    standin.cut(path="/messages")

    with pytest.raises(CannotDeliver, match="ServerDisconnectedError"):
        with_messenger(kept, lambda messenger: messenger.send(card("a"), nonce="n"))


def test_nothing_is_delivered_before_somebody_is_logged_in(kept: MemoryWatchList) -> None:
    async def call() -> list[str]:
        messenger = DiscordMessenger(lambda: None, OwnersChannel(7, kept, holder=HOLDER))
        calls: tuple[Awaitable[object], ...] = (
            messenger.send(card("a"), nonce="n"),
            messenger.edit("1", card("a")),
            messenger.find(MARK),
        )
        found = await asyncio.gather(*calls, return_exceptions=True)
        return [one.why for one in found if isinstance(one, CannotDeliver)]

    assert asyncio.run(call()) == ["not_connected"] * 3


def test_a_call_that_hangs_is_given_up_and_nothing_overtakes_it(
    standin: StandIn, kept: MemoryWatchList
) -> None:
    async def overtake(messenger: DiscordMessenger) -> tuple[list[str], str]:
        message_id = await messenger.send(card("first"), nonce="n")
        fault = standin.hang(method="PATCH")
        whys: list[str] = []
        for title in ("second", "third"):
            with pytest.raises(CannotDeliver) as caught:
                await messenger.edit(message_id, card(title))
            whys.append(caught.value.why)
        fault.lift()
        await messenger.edit(message_id, card("fourth"))
        return whys, message_id

    whys, _ = with_messenger(kept, overtake, patience_seconds=0.3)

    assert whys == ["no_answer", "no_answer"]
    titles = [version.title for version in standin.messages[0].versions]
    assert titles[-1] == "fourth"
    assert "third" not in titles


def test_a_call_ends_with_who_waits_for_it(standin: StandIn, kept: MemoryWatchList) -> None:
    async def cancel(messenger: DiscordMessenger) -> int:
        fault = standin.hang(method="POST", path="/messages")
        before = len(asyncio.all_tasks())
        task = asyncio.create_task(messenger.send(card("a"), nonce="n"))
        await asyncio.to_thread(fault.reached.wait, 10)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return len(asyncio.all_tasks()) - before

    assert with_messenger(kept, cancel) == 0


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
