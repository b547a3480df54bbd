import pytest

from model_trainer.core.contracts.run import Progress, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.cards.answers import (
    LAST_PAGE,
    MOST_LISTED,
    asked_card,
    dropped_card,
    ordered_card,
    question_card,
    run_list_card,
    service_card,
    stale_card,
    unwatched_card,
    watched_card,
    watching_card,
)
from model_trainer.discord_bot.cards.card import Card, SafeText
from model_trainer.discord_bot.cards.presses import Verb
from model_trainer.discord_bot.cards.run_card import run_card
from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.cards.sentences import sentence
from tests.unit.discord_bot.told import RUN, completed, measured, progressed, queued, saved, started, told

VERBS: tuple[Verb, ...] = ("cancel", "pause", "resume")


def presses(card: Card) -> list[str]:
    return [button.press for button in card.buttons]


def test_a_list_has_two_lines_a_run() -> None:
    running = told(queued(), started(), progressed(), measured(loss=2.5))
    ended = told(queued(), completed({"loss": 2.0, "validation_loss": 1.5}))
    card = run_list_card([running, ended, told(queued())], page=0, has_more=False)

    assert (card.title, card.buttons) == ("Runs", ())
    assert card.text.splitlines() == [
        "\u25b6\ufe0f gpt2 training: running, 50 %, step 600 of 1,200, loss 2.5",
        f"`{RUN}`",
        "\u2705 gpt2 training: completed, loss 1.5",
        f"`{RUN}`",
        "\u23f3 gpt2 training: waiting",
        f"`{RUN}`",
    ]


def test_a_list_turns_both_ways() -> None:
    story = [told(queued())]

    assert presses(run_list_card(story, page=0, has_more=True)) == ["runs:1"]
    assert presses(run_list_card(story, page=4, has_more=True)) == ["runs:3", "runs:5"]
    assert presses(run_list_card(story, page=4, has_more=False)) == ["runs:3"]
    assert presses(run_list_card(story, page=LAST_PAGE, has_more=True)) == [f"runs:{LAST_PAGE - 1}"]
    assert run_list_card(story, page=4, has_more=False).title == "Runs, page 5"


def test_an_empty_page_says_so_and_turns_back() -> None:
    card = run_list_card([], page=400, has_more=True)
    first = run_list_card([], page=0, has_more=False)

    assert (card.text, presses(card)) == ("There are no more.", ["runs:0"])
    assert (first.text, presses(first)) == ("There are none yet: /train orders one.", [])


def test_a_card_lists_only_so_many_runs() -> None:
    card = run_list_card([told(queued())] * (MOST_LISTED + 3), page=0, has_more=False)

    assert card.text.count(RUN) == MOST_LISTED
    assert card.text.endswith("\nand 3 more")


def test_only_a_training_at_work_shows_how_far_it_is() -> None:
    progress = Progress(step=3, total_steps=9, fraction=0.3)
    story = RunStory(run_id=RUN, status=RunStatus.PAUSED, progress=progress)

    assert "%" not in run_list_card([story], page=0, has_more=False).text


def test_watched_runs_are_listed_by_id() -> None:
    assert watching_card([RUN, "/srv/secret.txt"]).text == f"`{RUN}`\n`an unknown run`"
    assert "No run is watched" in watching_card([]).text
    assert watching_card([RUN] * 25).text.endswith("and 5 more")


def test_a_service_that_is_ready_shows_its_work() -> None:
    card = service_card(problem=None, version="1.2.0", running=[told(queued())], num_watched=3)

    assert (card.title, card.tone) == ("Model Trainer is ready", "good")
    assert card.text == f"It has all it needs.\n\n\u23f3 gpt2 training: waiting\n`{RUN}`"
    assert {field.name: field.value for field in card.fields} == {
        "Version": "1.2.0",
        "Runs now": "1",
        "Watched": "3",
    }


def test_a_service_that_is_not_ready_says_why_in_our_own_words() -> None:
    problem = AppError(ErrorCode.SERVICE_UNAVAILABLE, "/srv/secret.txt")
    card = service_card(problem=problem, version="/srv/1.2", running=[], num_watched=0)

    assert (card.title, card.tone) == ("Model Trainer is not ready", "bad")
    assert card.text == sentence(ErrorCode.SERVICE_UNAVAILABLE)
    assert [field.name for field in card.fields] == ["Runs now", "Watched"]


def test_runs_that_nobody_knows_of_are_not_counted() -> None:
    problem = AppError(ErrorCode.UNAUTHORIZED, "x")
    card = service_card(problem=problem, version="", running=None, num_watched=0)

    assert [field.name for field in card.fields] == ["Watched"]


def test_a_service_that_can_say_so_says_what_it_lacks() -> None:
    problem = AppError(ErrorCode.SERVICE_UNAVAILABLE, "x")
    missing = [SafeText("disk space"), SafeText("workers")]
    card = service_card(problem=problem, version="", running=[], num_watched=0, missing=missing)

    assert card.text == "The API answers, but lacks\n\u2022 disk space\n\u2022 workers"


@pytest.mark.parametrize("verb", VERBS)
def test_a_question_can_be_answered_with_yes_or_no(verb: Verb) -> None:
    card = question_card(verb, told(queued()), is_foreign=False)

    assert card.title.endswith("?")
    assert card.text.startswith(f"gpt2 training `{RUN}`\n")
    assert presses(card) == [f"do:{verb}:{RUN}", "drop"]
    assert card.buttons[0].label.endswith(f"{verb} it")
    assert card.buttons[0].style == ("danger" if verb == "cancel" else "primary")


def test_a_question_says_what_would_happen() -> None:
    story = told(queued(), started(), saved(600))
    texts = {verb: question_card(verb, story, is_foreign=False).text for verb in VERBS}

    assert "keeps its last checkpoint" in texts["cancel"]
    assert "stands still" in texts["pause"]
    assert texts["resume"].endswith("from its checkpoint at step 600.")
    assert question_card("resume", told(queued()), is_foreign=False).text.endswith("it begins at the start.")


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.PAUSED])
def test_what_is_not_at_work_waits_for_no_step(status: RunStatus) -> None:
    idle = RunStory(run_id=RUN, status=status)
    texts = [question_card(verb, idle, is_foreign=False).text for verb in VERBS]

    assert not [text for text in texts if "next step" in text]
    assert "ends at once" in texts[0]
    assert "leaves the line" in texts[1]


def test_a_question_about_a_foreign_run_says_so_and_not_whose() -> None:
    card = question_card("cancel", told(queued()), is_foreign=True)

    assert card.text.endswith("\nSomebody else ordered this run.")


def test_nothing_can_be_done_with_what_is_no_run() -> None:
    assert question_card("cancel", RunStory(run_id="secret.txt"), is_foreign=False).buttons == ()


@pytest.mark.parametrize(
    ("verb", "status", "title", "text"),
    [
        ("cancel", RunStatus.RUNNING, "Cancelling", "It stops at its next step."),
        ("cancel", RunStatus.CANCELLED, "Cancelled", "It has ended."),
        ("pause", RunStatus.RUNNING, "Pausing", "It saves a checkpoint at its next step, then stands still."),
        ("pause", RunStatus.PAUSED, "Paused", "It stands still until it is resumed."),
        ("resume", RunStatus.QUEUED, "Resumed", "It is in line again."),
    ],
)
def test_what_was_asked_is_confirmed_by_where_the_run_stands_since(
    verb: Verb, status: RunStatus, title: str, text: str
) -> None:
    card = asked_card(verb, RunStory(run_id=RUN, kind="train", family="gpt2", status=status))

    assert (card.title, card.text) == (title, f"{text}\ngpt2 training `{RUN}`")


def test_an_ordered_run_is_its_card_without_buttons() -> None:
    card = ordered_card(told(queued()))

    assert (card.title, card.buttons) == (run_card(told(queued())).title, ())
    assert card.text.endswith("\nIt is ordered; a message of its own will tell how it goes.")


def test_watching_is_confirmed() -> None:
    assert watched_card(RUN).text == f"This run is followed from now on.\n`{RUN}`"
    assert unwatched_card(RUN, was_watched=True).text == f"This run is followed no more.\n`{RUN}`"
    assert unwatched_card(RUN, was_watched=False).text == f"This run was not watched.\n`{RUN}`"


def test_no_and_old_buttons_have_an_answer() -> None:
    assert dropped_card().title == "Nothing was done"
    assert "/trainer runs" in stale_card().text
