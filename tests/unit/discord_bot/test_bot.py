"""The bot before a stand-in for Discord: who is answered, how soon, where, and what becomes of what goes wrong."""

import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog

from model_trainer.core.logging import configure_logging
from model_trainer.discord_bot.cards.card import Answer, Button, Card, Picture, SafeText, Suggestion
from model_trainer.discord_bot.commands.train_form import TrainForm
from tests.e2e.discord_standin import Place, StandIn, pointed_at
from tests.e2e.discord_world import APPLICATION_ID, OWNER_ID, PNG, STRANGER_ID
from tests.unit.discord_bot.booth import Scripted, card, listening

RUN = "01JD0000000000000000000000"
DEFERRED, DEFERRED_UPDATE = 5, 6


@pytest.fixture
def discord() -> Iterator[StandIn]:
    with StandIn() as standin, pointed_at(standin):
        yield standin


def test_each_command_is_one_question_and_its_answer_stands_in_the_channel(discord: StandIn) -> None:
    commands = Scripted()
    with listening(discord, commands):
        for command in (
            "status",
            "cancel",
            "trainer watch",
            "trainer unwatch",
            "trainer pause",
            "trainer resume",
        ):
            discord.ask(command, run_id=RUN)
        for command in ("trainer runs", "trainer status", "trainer watch"):
            discord.ask(command)
        asked = discord.give_command("trainer runs")
        said = discord.answer(asked)

    words = ("status", "cancel", "watch", "unwatch", "pause", "resume")
    assert commands.asked == [
        *((word, RUN) for word in words),
        ("runs", 0),
        ("service",),
        ("watch", None),
        ("runs", 0),
    ]
    assert (asked.callback, said.is_private, said.now.title) == (DEFERRED, False, "Answer")


def test_a_training_is_ordered_with_what_was_filled_in_and_under_a_key_of_its_own(discord: StandIn) -> None:
    commands = Scripted()
    options: dict[str, str | float] = {"max_steps": 12, "learning_rate": 0.5, "settings": "a=b", "seed": 3}
    with listening(discord, commands):
        asked = discord.give_command("train", {"family": "gpt2", "corpus": "books", **options})
        discord.answer(asked)
        discord.ask("train", family="gpt2", corpus="books")

    form = TrainForm(family="gpt2", corpus="books", max_steps=12, learning_rate=0.5, settings="a=b", seed=3)
    assert commands.asked[0] == ("train", form, f"discord-{asked.id}")
    last = commands.asked[1]
    assert isinstance(last, tuple)
    assert last[1:] != ("train", TrainForm("gpt2", "books"), f"discord-{asked.id}")
    assert last[1] == TrainForm(family="gpt2", corpus="books")


def test_the_commands_are_for_direct_messages_alone_wherever_the_bot_is_installed(discord: StandIn) -> None:
    with listening(discord, Scripted()):
        (registered,) = [one for one in discord.requests if one.method == "PUT" and "/commands" in one.path]

    told = json.loads(registered.body)
    assert isinstance(told, list)
    assert [one["name"] for one in told] == ["train", "status", "cancel", "trainer"]
    assert all(one["contexts"] == [1] and one["integration_types"] == [0, 1] for one in told)
    family, corpus = told[0]["options"][:2]
    assert (family["description"], family["autocomplete"], family["required"]) == (
        "What sort of model",
        True,
        True,
    )
    assert "autocomplete" not in corpus
    assert not [one for one in told[0]["options"] if {"choices", "min_value", "max_value"} & one.keys()]


@pytest.mark.parametrize("by", [OWNER_ID, STRANGER_ID])
@pytest.mark.parametrize("place", ["direct", "guild", "group"])
def test_who_is_not_the_owner_in_the_direct_channel_gets_no_answer(
    discord: StandIn, by: str, place: Place
) -> None:
    commands = Scripted()
    with listening(discord, commands), structlog.testing.capture_logs() as lines:
        first = discord.give_command("trainer runs", by=by, place=place)
        discord.ask("trainer status")  # comes after it, and is answered

    is_answered = by == OWNER_ID and place == "direct"
    assert commands.asked == ([("runs", 0)] if is_answered else []) + [("service",)]
    assert (first.callback is not None) is is_answered
    assert len([one for one in lines if one["event"] == "discord_passed_over"]) == (not is_answered)


def test_a_strangers_button_and_typing_and_anybodys_message_get_no_answer(discord: StandIn) -> None:
    commands = Scripted()
    commands.answer = Answer(Card(title=SafeText("Look"), buttons=(Button(SafeText("Go"), "drop"),)))
    with listening(discord, commands), structlog.testing.capture_logs() as lines:
        said = discord.ask("trainer runs")
        pressed = discord.press_button(said, "Go", by=STRANGER_ID)
        discord.write("my own", by=APPLICATION_ID)
        discord.write("hello", by=STRANGER_ID)
        discord.write("hello")
        discord.ask("trainer status")
        before = len(discord.requests)
        assert nothing_is_offered(discord, "status", by=STRANGER_ID)

    assert pressed.callback is None
    assert [asked for asked in commands.asked if isinstance(asked, tuple)] == [
        ("runs", 0),
        ("service",),
        ("service",),
    ]
    details = [line["detail"] for line in lines if line["event"] == "discord_passed_over"]
    assert [re.sub(r"a (\w+) of .*", r"\1", detail) for detail in details] == [
        "button",
        "message",
        "message",
        "suggestion",
    ]
    assert "its owner" in details[2]
    assert APPLICATION_ID not in {
        line.get("user_id") for line in lines if line["event"] == "discord_passed_over"
    }
    assert len([one for one in discord.requests[before:] if "/callback" in one.path]) == 1


@pytest.mark.parametrize("in_place", [True, False])
def test_a_button_is_answered_in_the_place_of_its_message_or_privately(
    discord: StandIn, in_place: bool
) -> None:
    commands = Scripted()
    button = Button(SafeText("Go"), f"ask:cancel:{RUN}", "danger")
    commands.answer = Answer(Card(title=SafeText("Look"), buttons=(button,)))
    with listening(discord, commands) as line:
        said = discord.ask("trainer runs")
        commands.answer = Answer(card("Pressed"), in_place=in_place)
        pressed = discord.press_button(said, "Go")
        answer = discord.answer(pressed)
        bot = line.bot()
        assert bot is not None
        assert bot.persistent_views == [], "a button needs no memory"

    assert commands.asked[-1] == ("pressed", f"ask:cancel:{RUN}")
    assert pressed.callback == DEFERRED_UPDATE
    assert answer.now.title == "Pressed"
    assert (answer.id == said.id, answer.is_private) == (in_place, not in_place)
    assert list(said.now.buttons) == ([] if in_place else ["Go"])


def test_a_picture_comes_along_and_nobody_is_mentioned(discord: StandIn) -> None:
    commands = Scripted()
    commands.answer = Answer(Card(title=SafeText("Loss"), picture=Picture("loss.png", PNG)))
    with listening(discord, commands):
        said = discord.ask("trainer runs")

    assert said.now.pictures == [PNG]
    (told,) = [one for one in discord.requests if one.path.endswith("/messages/@original")]
    assert b'"allowed_mentions":{"parse":[]}' in told.body.replace(b" ", b"")


def test_values_are_offered_as_what_the_option_is(discord: StandIn) -> None:
    commands = Scripted()
    values = ("12", "0.5", "auto", "9007199254740992", "inf", "nan")
    commands.offers = tuple(Suggestion(SafeText(f"- {value}"), value) for value in values)
    with listening(discord, commands):
        whole = discord.autocomplete("train", "max_steps", "1", family="gpt2")
        number = discord.autocomplete("train", "learning_rate", "", family="gpt2")
        text = discord.autocomplete("train", "device", "a", family="gpt2")
        of_run = discord.autocomplete("trainer pause", "run_id", "01")

    assert [label for label, _ in whole] == ["- 12"]
    assert [label for label, _ in number] == ["- 12", "- 0.5"]
    assert [label for label, _ in text] == [f"- {value}" for value in values]
    assert len(of_run) == len(values)
    assert commands.asked == [
        ("max_steps", "1", {"family": "gpt2"}),
        ("learning_rate", "", {"family": "gpt2"}),
        ("device", "a", {"family": "gpt2"}),
        ("pause.run_id", "01", {}),
    ]


@pytest.mark.parametrize("way", ["command", "button"])
def test_what_breaks_is_told_by_a_number_that_stands_in_the_log_with_the_place(
    discord: StandIn, way: str
) -> None:
    commands = Scripted()
    commands.answer = Answer(Card(title=SafeText("Look"), buttons=(Button(SafeText("Go"), "drop"),)))
    with listening(discord, commands), structlog.testing.capture_logs() as lines:
        said = discord.ask("trainer runs")
        commands.breaks_with = RuntimeError("corpus text and /a/path")
        asked = discord.give_command("trainer runs") if way == "command" else discord.press_button(said, "Go")
        answer = discord.answer(asked)
        commands.breaks_with = None
        discord.ask("trainer status")

    (line,) = [one for one in lines if one["event"] == "discord_answer_failed"]
    assert str(line["request_id"]) in answer.now.text
    assert re.fullmatch(r"RuntimeError at booth\.py:\d+", line["detail"])
    assert "corpus" not in f"{answer.now.text}{lines}"
    assert answer.is_private == (way == "button")


def test_what_breaks_without_anybody_asking_or_while_somebody_types_is_only_logged(discord: StandIn) -> None:
    commands = Scripted()
    with listening(discord, commands) as line, structlog.testing.capture_logs() as lines:
        bot = line.bot()
        assert bot is not None
        bot.dispatch("message", "no message at all")
        discord.ask("trainer status")
        discord.world.commands["gone"] = discord.world.commands["status"].model_copy(update={"name": "gone"})
        before = len(discord.requests)
        assert nothing_is_offered(discord, "gone")
        posts = [one.path for one in discord.requests[before:] if one.method == "POST"]
        stale = discord.ask("gone", run_id=RUN)

    details = [one["detail"] for one in lines if one["event"] == "discord_answer_failed"]
    assert [str(detail).partition(" ")[0] for detail in details] == [
        "AttributeError",
        "CommandNotFound",
        "CommandNotFound",
    ]
    assert stale.now.title == "That did not work"
    assert [path.rpartition("/")[2] for path in posts] == ["callback"]


def nothing_is_offered(discord: StandIn, command: str, *, by: str = OWNER_ID) -> bool:
    """Somebody types, and the next command of the owner is answered first."""
    with ThreadPoolExecutor() as threads:
        typing = threads.submit(discord.autocomplete, command, "run_id", "0", by=by)
        discord.wait(
            lambda: list(discord.world.asked.values())[-1].what.startswith(f"/{command} run_id"), "typing"
        )
        asked = list(discord.world.asked.values())[-1]
        discord.ask("trainer status")
        is_silent = asked.suggestions is None
        discord.world.suggest(asked, [])
        typing.result()
    return is_silent


def test_an_interaction_that_discord_waits_for_no_more_changes_nothing(discord: StandIn) -> None:
    commands = Scripted()
    commands.answer = Answer(Card(title=SafeText("Look"), buttons=(Button(SafeText("Go"), "drop"),)))
    with listening(discord, commands), structlog.testing.capture_logs() as lines:
        with_fault = discord.fail(404, path="/callback", code=10062, times=1)
        discord.give_command("cancel", {"run_id": RUN})
        discord.wait(lambda: with_fault.hits == 1, "the refusal")
        said = discord.ask("trainer status")
        pressed = discord.fail(404, path="/callback", code=10062, times=1)
        discord.press_button(said, "Go")
        discord.wait(lambda: pressed.hits == 1, "the refused press")
        lost = discord.fail(404, path="/messages/@original", code=10015, times=1)
        discord.give_command("trainer runs")
        discord.wait(lambda: lost.hits == 1, "the second refusal")
        discord.ask("trainer status")

    assert commands.asked == [("service",), ("runs", 0), ("service",)]
    told = [(one["event"], one["detail"]) for one in lines if "detail" in one]
    assert ("discord_interaction_lost", "404 10062") in told
    assert ("discord_answer_lost", "404 10015") in told


def test_a_second_session_does_nothing_twice(discord: StandIn) -> None:
    commands = Scripted()
    with listening(discord, commands):
        discord.drop_gateway(4000)
        discord.wait(lambda: discord.gateway.is_connected, "the resumed connection")
        discord.ask("trainer status")

    assert commands.asked == [("service",)]
    assert len([one for one in discord.requests if one.method == "PUT" and "/commands" in one.path]) == 1


def test_neither_token_stands_in_any_log_whatever_fails(discord: StandIn) -> None:
    stream = io.StringIO()
    configure_logging(service="model-trainer-discord", level="DEBUG", readable=False, stream=stream)
    commands = Scripted()
    with listening(discord, commands):
        commands.breaks_with = RuntimeError(f"Authorization: Bot {discord.token}")
        asked = discord.give_command("trainer runs")
        discord.answer(asked)
        discord.limit(0.01, path="/callback")
        discord.limit(0.01, path="/messages/@original")
        second = discord.give_command("trainer status")
        discord.answer(second)

    written = stream.getvalue()
    assert "rate limited" in written
    assert discord.token not in written
    assert discord.token.split(".")[2] not in written
    assert asked.token not in written
    assert second.token not in written
