"""Cancelling, pausing and resuming: at once where it was typed, after a question where a button or somebody else is in it."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from model_trainer.core.contracts.run import RunKind, RunStatus
from model_trainer.discord_bot.cards.card import Answer
from model_trainer.discord_bot.cards.presses import VERBS, Ask, Do, Drop, Verb, written
from model_trainer.discord_bot.cards.run_words import standing
from tests.unit.api.test_steering import put_checkpoint
from tests.unit.client.fake_api import RUN_ID, FakeApi, problem, run_view
from tests.unit.discord_bot.desk import OWNER_ID, Desk, Office, desk_over, office, presses, words

BEFORE = {"cancel": RunStatus.RUNNING, "pause": RunStatus.QUEUED, "resume": RunStatus.PAUSED}
AFTER = {"cancel": "cancelling", "pause": "paused", "resume": "queued"}
TITLES = {"cancel": "Cancelling", "pause": "Paused", "resume": "Resumed"}


@pytest.fixture
def here() -> Iterator[Office]:
    with office() as opened:
        yield opened


def typed(desk: Desk, verb: Verb, run_id: str) -> Answer:
    """A slash command."""
    commands = desk.commands
    ways = {"cancel": commands.cancel, "pause": commands.pause, "resume": commands.resume}
    return asyncio.run(ways[verb](run_id))


def pressed(desk: Desk, press: Ask | Do) -> Answer:
    return desk.run(lambda commands: commands.pressed(written(press)))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("user_id", [None, str(OWNER_ID)])
def test_what_is_typed_of_an_own_run_is_done(here: Office, verb: Verb, user_id: str | None) -> None:
    run_id = here.standing(BEFORE[verb], user_id=user_id)
    answer = typed(here.desk, verb, run_id)
    assert here.status(run_id) == AFTER[verb]
    assert answer.card.title == TITLES[verb]
    assert run_id in words(answer.card)
    assert not answer.in_place


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_typed_of_somebody_elses_run_is_asked_for_first(here: Office, verb: Verb) -> None:
    run_id = here.standing(BEFORE[verb], user_id="carol")
    answer = typed(here.desk, verb, run_id)
    assert here.status(run_id) == BEFORE[verb].value
    assert "Somebody else ordered this run" in words(answer.card)
    assert "carol" not in words(answer.card)
    assert set(presses(answer).values()) == {written(Do(verb, run_id)), written(Drop())}


@pytest.mark.parametrize("verb", VERBS)
def test_a_button_asks_and_a_yes_does_it_in_place(here: Office, verb: Verb) -> None:
    run_id = here.standing(BEFORE[verb], user_id=str(OWNER_ID))
    question = pressed(here.desk, Ask(verb, run_id))
    assert here.status(run_id) == BEFORE[verb].value
    assert not question.in_place
    assert "toy" in words(question.card)
    assert "Somebody else" not in words(question.card)
    assert set(presses(question).values()) == {written(Do(verb, run_id)), written(Drop())}
    done = pressed(here.desk, Do(verb, run_id))
    assert here.status(run_id) == AFTER[verb]
    assert (done.card.title, done.in_place, done.card.buttons) == (TITLES[verb], True, ())


def test_the_question_says_from_which_good_checkpoint_a_run_would_go_on(here: Office) -> None:
    run_id = here.standing(RunStatus.PAUSED)
    assert "begins at the start" in words(pressed(here.desk, Ask("resume", run_id)).card)
    put_checkpoint(here.service, run_id, 10)
    put_checkpoint(here.service, run_id, 25)
    damaged = put_checkpoint(here.service, run_id, 30)
    (damaged / "manifest.json").write_text("{")
    assert "checkpoint at step 25" in words(pressed(here.desk, Ask("resume", run_id)).card)


def test_checkpoints_that_cannot_be_gone_on_from_are_passed_over() -> None:
    api = FakeApi().on("GET", f"/runs/{RUN_ID}", run_view(status="paused", links={"resume": "x"}))
    rows = [{"step": 9, "problem": "damaged"}, {"step": 8, "resumable": False}, {"step": 7}, {"step": 6}]
    api.on("GET", f"/runs/{RUN_ID}/checkpoints", {"run_id": RUN_ID, "data": rows})
    with desk_over(api.handle) as desk:
        assert "checkpoint at step 7" in words(pressed(desk, Ask("resume", RUN_ID)).card)


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("cancel", RunStatus.COMPLETED),
        ("cancel", RunStatus.FAILED),
        ("cancel", RunStatus.CANCELLED),
        ("pause", RunStatus.PAUSED),
        ("pause", RunStatus.CANCELLING),
        ("pause", RunStatus.COMPLETED),
        ("resume", RunStatus.RUNNING),
        ("resume", RunStatus.QUEUED),
        ("resume", RunStatus.COMPLETED),
    ],
)
def test_what_makes_no_sense_any_more_says_where_the_run_stands(
    here: Office, verb: Verb, status: RunStatus
) -> None:
    run_id = here.standing(status)
    answers = (
        typed(here.desk, verb, run_id),
        pressed(here.desk, Ask(verb, run_id)),
        pressed(here.desk, Do(verb, run_id)),
    )
    for answer in answers:
        assert answer.card.title == "Nothing was done"
        assert words(answer.card).endswith(f"{standing(status)}: there is nothing to {verb}.\n`{run_id}`")
        assert answer.card.buttons == ()
    assert [answer.in_place for answer in answers] == [False, False, True]
    assert here.status(run_id) == status.value


def test_asking_a_second_time_says_that_it_was_asked(here: Office) -> None:
    going = here.standing(RunStatus.RUNNING)
    typed(here.desk, "pause", going)
    assert "asked to stand still already" in words(typed(here.desk, "pause", going).card)
    typed(here.desk, "cancel", going)
    assert "being cancelled already" in words(typed(here.desk, "cancel", going).card)


@pytest.mark.parametrize("verb", VERBS)
def test_a_yes_that_is_pressed_twice_or_late_does_it_once(here: Office, verb: Verb) -> None:
    run_id = here.standing(BEFORE[verb], user_id=str(OWNER_ID))
    pressed(here.desk, Do(verb, run_id))
    again = pressed(here.desk, Do(verb, run_id))
    assert (again.card.title, again.card.buttons, again.in_place) == ("Nothing was done", (), True)
    assert here.status(run_id) == AFTER[verb]


def test_a_run_that_was_paused_in_line_and_resumed_can_be_paused_again(here: Office) -> None:
    run_id = here.standing(RunStatus.QUEUED)
    steps: list[tuple[Verb, str]] = [("pause", "paused"), ("resume", "queued"), ("pause", "paused")]
    for verb, status in steps:
        typed(here.desk, verb, run_id)
        assert here.status(run_id) == status


def test_only_trainings_stand_still(here: Office) -> None:
    tokenizer_id = str(
        here.api.post("/tokenizers/train", json={"method": "char", "corpus_path": "demo"}).json()[
            "tokenizer_id"
        ]
    )
    kinds: list[tuple[Verb, str]] = [("pause", "paused"), ("resume", "resumed")]
    for verb, done in kinds:
        said = words(typed(here.desk, verb, tokenizer_id).card)
        assert f"Only trainings can be {done}; this run is of kind {RunKind.TOKENIZER.value}." in said
    typed(here.desk, "cancel", tokenizer_id)
    assert here.status(tokenizer_id) == "cancelled"


def steerable(**changes: object) -> dict[str, object]:
    return run_view(**{"links": dict.fromkeys(VERBS, "x"), **changes})


def test_a_run_that_ends_while_it_is_looked_at_is_no_fault() -> None:
    api = FakeApi().on("GET", f"/runs/{RUN_ID}", steerable(), run_view(status="completed"))
    api.on("POST", f"/runs/{RUN_ID}/cancel", problem(409, "CONFLICT", "It is over in /srv/x."))
    with desk_over(api.handle) as desk:
        answer = pressed(desk, Do("cancel", RUN_ID))
    assert answer.card.title == "Nothing was done"
    assert "It has completed" in words(answer.card)
    assert answer.in_place


def test_a_conflict_that_the_run_does_not_explain_is_told_by_its_code() -> None:
    api = FakeApi().on("GET", f"/runs/{RUN_ID}", steerable())
    api.on("POST", f"/runs/{RUN_ID}/resume", problem(409, "CONFLICT", "A folder in /srv/x is another's."))
    with desk_over(api.handle) as desk:
        answer = pressed(desk, Do("resume", RUN_ID))
    assert answer.card.tone == "bad"
    assert "srv" not in words(answer.card)
    assert not answer.in_place


def test_another_refusal_is_told_without_a_second_look() -> None:
    api = FakeApi().on("GET", f"/runs/{RUN_ID}", steerable())
    api.on("POST", f"/runs/{RUN_ID}/pause", problem(503, "STORE_UNAVAILABLE", "redis://10.0.0.7"))
    with desk_over(api.handle) as desk:
        said = words(typed(desk, "pause", RUN_ID).card)
        assert [request.method for request in desk.requests] == ["GET", "POST"]
    assert "store is away" in said


def test_what_was_done_is_seen_in_suggestions_at_once(here: Office) -> None:
    run_id = here.standing(RunStatus.QUEUED)
    assert list(here.desk.suggest("pause.run_id")) == [run_id]
    typed(here.desk, "pause", run_id)
    assert list(here.desk.suggest("pause.run_id")) == []


def test_a_run_of_a_newer_server_is_steered_by_what_it_allows() -> None:
    view = steerable(status="daydreaming", links={"cancel": "x"})
    api = (
        FakeApi()
        .on("GET", f"/runs/{RUN_ID}", view)
        .on("POST", f"/runs/{RUN_ID}/cancel", httpx.Response(202, json=view))
    )
    with desk_over(api.handle) as desk:
        assert "It is daydreaming" in words(typed(desk, "pause", RUN_ID).card)
        assert typed(desk, "cancel", RUN_ID).card.title == "Cancelling"
