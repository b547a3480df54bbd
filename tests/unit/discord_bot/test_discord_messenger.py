"""The owner's channel before a stand-in for Discord: what is sent and found, and what each refusal comes to."""

import asyncio
import gc
import json
from collections.abc import Awaitable

import pytest

from model_trainer.discord_bot.cards.card import Button, Card, Field, Picture, SafeText, Tone
from model_trainer.discord_bot.discord_messenger import DiscordMessenger
from model_trainer.discord_bot.notifications.messenger import CannotDeliver, MessageGone, MessageRefused
from model_trainer.discord_bot.owners_channel import OwnersChannel
from model_trainer.infra.persistence.memory_watch_list import MemoryWatchList
from tests.e2e.discord_standin import StandIn
from tests.e2e.discord_world import OWNER_ID, PNG, STRANGER_ID, dm_of
from tests.unit.discord_bot.booth import card
from tests.unit.discord_bot.messaging import HOLDER, with_messenger

MARK = "01JD0000000000000000000000"


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


def test_a_message_that_discord_finds_wrong_is_told_from_an_outage(
    standin: StandIn, kept: MemoryWatchList
) -> None:
    standin.fail(400, code=50035, method="POST", path="/messages")

    with pytest.raises(MessageRefused, match="400 50035"):
        with_messenger(kept, lambda messenger: messenger.send(card("a"), nonce="n"))


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


def test_who_waits_no_more_does_not_break_a_call_off_and_the_next_one_gets_through(
    standin: StandIn, kept: MemoryWatchList
) -> None:
    async def cancel(messenger: DiscordMessenger) -> None:
        fault = standin.limit(0.5, method="POST", path="/messages", is_global=True)
        task = asyncio.create_task(messenger.send(card("a"), nonce="n"))
        await asyncio.to_thread(fault.reached.wait, 10)
        await asyncio.sleep(0.1)  # it sits the limit out
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        await messenger.send(card("b"), nonce="m")

    with_messenger(kept, cancel, patience_seconds=3.0)

    assert [message.now.title for message in standin.messages] == ["a", "b"]


def test_a_call_that_nobody_waits_for_is_not_overtaken(standin: StandIn, kept: MemoryWatchList) -> None:
    async def overtake(messenger: DiscordMessenger) -> None:
        message_id = await messenger.send(card("first"), nonce="n")
        fault = standin.hang(method="PATCH", times=1)
        task = asyncio.create_task(messenger.edit(message_id, card("second")))
        await asyncio.to_thread(fault.reached.wait, 10)
        task.cancel()
        with pytest.raises(CannotDeliver, match="no_answer"):
            await messenger.edit(message_id, card("third"))
        fault.lift()
        await messenger.edit(message_id, card("fourth"))

    with_messenger(kept, overtake, patience_seconds=0.5)

    assert [version.title for version in standin.messages[0].versions] == ["first", "second", "fourth"]


def test_what_an_abandoned_call_has_to_say_is_heard_by_nobody(
    standin: StandIn, kept: MemoryWatchList
) -> None:
    async def abandon(messenger: DiscordMessenger) -> list[object]:
        unheard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        fault = standin.hang(method="PATCH")
        with pytest.raises(CannotDeliver, match="no_answer"):
            await messenger.edit("404", card("a"))
        fault.lift()
        await messenger.send(card("b"), nonce="m")
        gc.collect()
        return unheard

    assert with_messenger(kept, abandon, patience_seconds=0.5) == []
