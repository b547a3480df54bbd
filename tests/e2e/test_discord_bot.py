"""The Discord bot for real: `model-trainer discord` as a process, against a stand-in for Discord, with the real service."""

import struct
from collections.abc import Iterator

import pytest

from model_trainer.discord_bot.cards.presses import Ask, Do, Drop, TurnTo, written
from tests.e2e.discord_standin import StandIn
from tests.e2e.discord_town import CORPUS, FAMILY, LONG, SHORT, Bot, Town, nothing_leaked, wait_until
from tests.e2e.discord_world import OWNER_ID, PNG, STRANGER_ID

SETTINGS = (
    "num_layers=1, hidden_size=16, embedding_size=8, cpu_threads=1, log_every_steps=5, eval_every_steps=20"
)


@pytest.fixture(scope="module")
def running(town: Town) -> Iterator[StandIn]:
    """One bot for all tests of this file."""
    town.forget_what_is_watched()
    with StandIn() as standin:
        bot = Bot(town.stack, standin)
        bot.start_and_wait()
        yield standin
        assert bot.stop() == 0
        nothing_leaked(town, standin)  # with what it logged at its end


@pytest.fixture
def discord(town: Town, running: StandIn) -> Iterator[StandIn]:
    """What a test has left is looked through."""
    yield running
    nothing_leaked(town, running)


def train(discord: StandIn, town: Town, *, steps: int, name: str) -> str:
    """Orders a training on Discord; its id."""
    ordered = discord.ask(
        "train",
        family=FAMILY,
        corpus=CORPUS,
        tokenizer=town.tokenizer_id,
        name=name,
        max_steps=steps,
        max_seq_len=16,
        batch_size=4,
        device="cpu",
        precision="fp32",
        settings=SETTINGS,
    )
    assert ordered.now.mark, ordered.now.text
    return ordered.now.mark


def test_it_logs_in_and_registers_its_commands_for_direct_messages_alone(discord: StandIn) -> None:
    commands = discord.world.commands

    assert {
        name: sorted(option.name for option in commands[name].options if option.type == 1)
        for name in commands
    } == {
        "train": [],
        "status": [],
        "cancel": [],
        "trainer": ["pause", "resume", "runs", "status", "unwatch", "watch"],
    }
    assert {tuple(command.contexts or ()) for command in commands.values()} == {(1,)}
    assert [option.name for option in commands["train"].options if option.required] == ["family", "corpus"]


def test_a_training_goes_from_suggestions_to_one_message_with_its_curve(discord: StandIn, town: Town) -> None:
    families = discord.autocomplete("train", "family", "lstm", corpus=CORPUS)
    tokenizers = discord.autocomplete("train", "tokenizer", "", family=FAMILY, corpus=CORPUS)
    run_id = train(discord, town, steps=SHORT, name="@everyone **now**")
    told = discord.wait_until_told(run_id, "completed")

    assert [value for _, value in families] == [FAMILY]
    assert [value for _, value in tokenizers] == [town.tokenizer_id]
    assert town.client.run(run_id).user_id == OWNER_ID
    assert discord.about(run_id) == [told]
    assert not told.versions[0].title.endswith("completed"), "it was told before it ended"
    assert not told.now.buttons
    assert told.now.fields["Step"] == f"{SHORT} of {SHORT}"
    assert {"Loss", "Validation loss"} <= set(told.now.fields)
    (picture,) = told.now.pictures
    width, height = struct.unpack(">II", picture[16:24])
    assert picture.startswith(PNG)
    assert width > 300
    assert height > 200
    answers = [said for asked in discord.world.asked.values() for said in asked.shown]
    texts = [version.text for said in (told, *answers) for version in said.versions]
    assert any("everyone" in text for text in texts), "its name is shown"
    assert not [text for text in texts if "@everyone" in text or "**now**" in text]


def test_status_tells_how_a_run_stands_and_knows_no_others(discord: StandIn, town: Town) -> None:
    run_id = town.order(steps=SHORT)
    wait_until(lambda: town.client.run(run_id).status == "completed", "the run")

    suggested = discord.autocomplete("status", "run_id", run_id[:20])
    shown = discord.ask("status", run_id=run_id)
    unknown = discord.ask("status", run_id="01J00000000000000000000000")
    nonsense = discord.ask("status", run_id="../../etc/passwd")

    assert run_id in [value for _, value in suggested]
    assert shown.now.title.endswith("completed")
    assert "request " in unknown.now.text
    assert "passwd" not in nonsense.now.text
    discord.wait_until_told(run_id, "completed")


def test_a_run_is_cancelled_by_its_button_once_the_question_is_answered(discord: StandIn, town: Town) -> None:
    run_id = train(discord, town, steps=LONG, name="long")
    told = discord.wait_until_told(run_id, "running")

    asked = discord.answer(discord.press_button(told, written(Ask("cancel", run_id))))
    no = discord.answer(discord.press_button(asked, written(Drop())))
    was = town.client.run(run_id).status
    again = discord.answer(discord.press_button(told, written(Ask("cancel", run_id))))
    yes = discord.answer(discord.press_button(again, written(Do("cancel", run_id))))
    ended = discord.wait_until_told(run_id, "cancelled")

    assert (asked.is_private, again.is_private) == (True, True)
    assert (no, was) == (asked, "running")
    assert (yes, yes.now.buttons) == (again, {})
    assert discord.about(run_id) == [ended] == [told]


def test_a_run_is_paused_and_goes_on(discord: StandIn, town: Town) -> None:
    with town.long_run() as run_id:
        discord.ask("trainer pause", run_id=run_id)
        paused = discord.wait_until_told(run_id, "paused")
        asked = discord.answer(discord.press_button(paused, written(Ask("resume", run_id))))
        discord.answer(discord.press_button(asked, written(Do("resume", run_id))))
        resumed = discord.wait_until_told(run_id, "running", "waiting")
        discord.ask("trainer pause", run_id=run_id)
        discord.wait_until_told(run_id, "paused")
        discord.ask("trainer resume", run_id=run_id)
        discord.ask("cancel", run_id=run_id)
        discord.wait_until_told(run_id, "cancelled")

    assert resumed is paused
    assert len(discord.about(run_id)) == 1


def test_runs_are_listed_in_pages_that_are_turned_in_place(discord: StandIn, town: Town) -> None:
    ordered = [town.order(steps=1, user_id=None) for _ in range(11)]
    for run_id in ordered:
        town.end(run_id)

    listed = discord.ask("trainer runs")
    first = listed.now.text
    older = discord.answer(discord.press_button(listed, written(TurnTo(1))))
    second = older.now.text
    newer = discord.answer(discord.press_button(older, written(TurnTo(0))))

    assert [run_id for run_id in reversed(ordered) if run_id in first] == ordered[:0:-1]
    assert ordered[0] in second
    assert listed is older is newer
    assert newer.now.text == first


def test_the_service_says_how_it_is(discord: StandIn) -> None:
    assert discord.ask("trainer status").now.title == "Model Trainer is ready"


def test_a_slow_api_is_waited_for_while_discord_shows_that_the_bot_thinks(
    discord: StandIn, town: Town
) -> None:
    with town.api_hanging():
        asked = discord.give_command("trainer runs")
        discord.wait(lambda: asked.callback == 5, "the bot to be thinking")
        shown_meanwhile = list(asked.shown)
    answered = discord.answer(asked)

    assert shown_meanwhile == []
    assert answered.now.title == "Runs"


def test_a_run_of_nobody_is_told_from_when_it_is_watched_until_it_is_not(
    discord: StandIn, town: Town
) -> None:
    with town.long_run(user_id=None) as watched, town.long_run(user_id="somebody-else") as other:
        before = (discord.about(watched), discord.about(other))
        discord.ask("trainer watch", run_id=watched)
        discord.wait_until_told(watched, "running")
        listed = discord.ask("trainer watch")
        discord.ask("trainer unwatch", run_id=watched)
        asked = discord.ask("cancel", run_id=other)
        question = asked.now.text
        was = town.client.run(other).status
        discord.answer(discord.press_button(asked, written(Do("cancel", other))))
        wait_until(lambda: town.client.run(other).status == "cancelled", "the other's run to be cancelled")
        town.end(watched)
    mine = train(discord, town, steps=SHORT, name="mine")
    discord.wait_until_told(mine, "completed")

    assert before == ([], [])
    assert watched in listed.now.text
    assert discord.about(watched)[0].now.title.endswith("running"), "its end was not asked for"
    assert discord.about(other) == []
    assert ("Somebody else" in question, was) == (True, "running")
    assert "somebody-else" not in question


def test_strangers_guilds_and_plain_messages_get_no_answer(discord: StandIn, town: Town) -> None:
    with town.long_run() as run_id:
        told = discord.wait_until_told(run_id, "running")
        ignored = [
            discord.give_command("trainer runs", by=STRANGER_ID),
            discord.give_command("trainer runs", place="guild"),
            discord.give_command("trainer runs", place="group"),
            discord.give_command("cancel", {"run_id": run_id}, by=STRANGER_ID),
            discord.press_button(told, written(Ask("cancel", run_id)), by=STRANGER_ID),
        ]
        discord.write("hello?", by=STRANGER_ID)
        discord.write("hello?")
        discord.ask("trainer runs")

        assert [asked.callback for asked in ignored] == [None] * len(ignored)
        assert town.client.run(run_id).status == "running"
    discord.wait_until_told(run_id, "cancelled")
