"""Hostile and secret-looking values through every formatter there is, found by looking for them."""

import json
import math
from collections.abc import Callable, Coroutine

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_trainer.client.views import RunView, SeriesRowView
from model_trainer.core.contracts.run import Phase, Progress, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FieldFault, Reason
from model_trainer.discord_bot.cards import answers, figures, run_words, safe_text, sentences
from model_trainer.discord_bot.cards.card import Answer
from model_trainer.discord_bot.cards.curves import loss_curve
from model_trainer.discord_bot.cards.presses import VERBS, Do, TurnTo, written
from model_trainer.discord_bot.cards.run_card import run_card
from model_trainer.discord_bot.cards.run_story import RunStory, story_of_view
from model_trainer.discord_bot.commands.commands import Commands
from model_trainer.discord_bot.commands.train_form import TrainForm
from model_trainer.models.gpt2 import FAMILY as GPT2
from tests.unit.discord_bot.desk import desk_over, kind_of
from tests.unit.discord_bot.formatters import formatters
from tests.unit.discord_bot.hostile import (
    LOUD,
    PRIVATE,
    any_texts,
    assert_harmless,
    assert_silent,
    private_texts,
)
from tests.unit.discord_bot.told import (
    RUN,
    completed,
    configured,
    evaluated,
    failed,
    measured,
    paused,
    progressed,
    queued,
    rejected,
    saved,
    started,
    told,
)

EXTREMES = (0, -1, 10**5000, -(10**5000))
ODD = (0.0, -1.0, 1e-300, 1e300, math.inf, -math.inf, math.nan)
STORY = told(queued(), started(), progressed())


def story_with(text: str) -> RunStory:
    """A run whose every free text is hostile, but for the name that people gave it."""
    metrics: dict[str, float] = {text: 1.0, "loss": 2.0}
    return told(
        queued(kind=text, family=text).model_copy(update={"user_id": text, "queue": text, "job_id": text}),
        started(2, worker=text),
        configured(device=text, precision=text),
        progressed(message=text),
        measured(**metrics),
        saved(path=text),
        rejected(path=text, why=text),
        evaluated(metrics, split=text).model_copy(update={"evaluation_id": text}),
    )


def stories_with(text: str) -> list[RunStory]:
    """The same wherever a run can stand."""
    story = story_with(text)
    ended = (paused(), completed({text: 1.0}, message=text), failed(message=text))
    foreign = story.model_copy(update={"run_id": text})
    return [story, foreign, *(told(event, story=story) for event in ended)]


def view_with(text: str, *, name: str, status: str = "failed", run_id: str = RUN) -> dict[str, object]:
    """A run as the API of somebody hostile would show it; `name` is what people called it."""
    problem = {
        "code": "INTERNAL",
        "message": text,
        "exception": text,
        "faults": [{"pointer": text, "message": text}],
    }
    return {
        "run_id": run_id,
        "kind": "train",
        "status": status,
        "phase": text,
        "message": text,
        "family": text,
        "metrics": {text: 1.0, "loss": 2.0},
        "reason": text,
        "failure_class": text,
        "problem": problem | {"code": text},
        "created_at": text,
        "updated_at": text,
        "user_id": text[:9],
        "metadata": {"name": name, text: text},
        "result": {text: text, "best_step": text},
        "spec": {"corpus_path": text},
        "parent_run_id": text,
        "checkpoint": {"step": 5, "path": text},
        "attempts": [{"owner": text, "problem": problem}],
        "host": text,
        "links": {"self": text},
    }


def refusal_with(text: str) -> AppError:
    faults = [FieldFault(pointer=text, message=text), FieldFault(pointer="/" + text, message=text)]
    facts: dict[str, str | int | float | bool | None] = {"request_id": text, "detail": text, "path": text}
    return AppError(ErrorCode.CONFIG_INVALID, text, faults=faults, facts=facts)


def of_stories(text: str) -> list[object]:
    stories = stories_with(text)
    return [
        *map(run_card, stories),
        *map(answers.ordered_card, stories),
        *(answers.question_card(verb, story, is_foreign=True) for verb in VERBS for story in stories),
        answers.run_list_card(stories * 9, page=3, has_more=True),
        answers.service_card(problem=None, version=text, running=stories * 9, num_watched=1),
    ]


def of_views(text: str, name: str) -> list[object]:
    views = [
        RunView.model_validate(view_with(text, name=name, status=status)) for status in (*RunStatus, text)
    ]
    views.append(views[0].model_copy(update={"kind": text, "run_id": text}))
    stories = [story_of_view(view) for view in views]
    return [
        *map(run_card, stories),
        *map(run_words.called, stories),
        answers.run_list_card(stories, page=0, has_more=True),
    ]


def of_errors(text: str) -> list[object]:
    error = refusal_with(text)
    return [
        sentences.error_card(error),
        sentences.error_text(error),
        answers.service_card(problem=error, version=text, running=[], num_watched=0),
    ]


def of_ids(text: str) -> list[object]:
    return [
        safe_text.run_id(text),
        safe_text.word(text),
        answers.watching_card([text, RUN] * 30),
        answers.watched_card(text),
        answers.unwatched_card(text, was_watched=True),
        *(answers.asked_card(verb, RunStory(run_id=text)) for verb in VERBS),
        run_words.standing(text),
    ]


@pytest.mark.parametrize("text", [*PRIVATE, *LOUD], ids=lambda text: ascii(text[:30]))
def test_nothing_of_any_free_text_gets_out(text: str) -> None:
    for shown in [*of_stories(text), *of_views(text, "my run"), *of_errors(text), *of_ids(text)]:
        assert_harmless(shown)
        assert_silent(shown)


@settings(max_examples=25, deadline=None)
@given(any_texts)
def test_nothing_of_what_nobody_thought_of_gets_out(text: str) -> None:
    for shown in [*of_stories(text), *of_views(text, "my run"), *of_errors(text), *of_ids(text)]:
        assert_harmless(shown)
        assert_silent(shown)


@settings(max_examples=40, deadline=None)
@given(private_texts)
def test_nothing_of_a_private_name_gets_out(name: str) -> None:
    for shown in [safe_text.name(name), *of_views("x", name)]:
        assert_harmless(shown)
        assert_silent(shown)


@settings(max_examples=40, deadline=None)
@given(any_texts | st.text())
def test_other_names_do_nothing(name: str) -> None:
    for shown in [safe_text.name(name), safe_text.say("{name}", name=name), *of_views("x", name)]:
        assert_harmless(shown)


def test_every_number_can_be_shown() -> None:
    for whole in EXTREMES:
        assert_harmless([figures.count(whole), figures.short_count(whole), figures.steps(whole, whole)])
        story = STORY.model_copy(
            update={
                "progress": Progress(step=whole, total_steps=whole),
                "num_parameters": whole,
                "attempt": whole,
                "checkpoint_step": whole,
                "best_step": whole,
                "rejected_checkpoints": whole,
            }
        )
        assert_harmless(run_card(story))
        assert_harmless(answers.run_list_card([story], page=0, has_more=False))
    for number in ODD:
        assert_harmless(
            [figures.measure(number), figures.percent(number), figures.bar(number), figures.clock(number)]
        )
        assert_harmless([figures.from_now(number)])
        numbers = Progress().model_copy(
            update={"fraction": number, "tokens_per_second": number, "eta_seconds": number}
        )
        assert_harmless(run_card(STORY.model_copy(update={"progress": numbers, "metrics": {"loss": number}})))


def test_every_word_of_closed_lists_is_harmless() -> None:
    assert_harmless([*map(run_words.status_word, RunStatus), *map(run_words.phase_word, Phase)])
    assert_harmless([*map(sentences.sentence, ErrorCode), *map(sentences.reason_sentence, Reason)])
    assert_harmless([answers.dropped_card(), answers.stale_card()])
    assert_harmless([run_words.measure_word(metric) for metric in ("loss", "validation_loss", "new_thing")])
    assert all(run_words.status_sign(status) for status in RunStatus)


def test_texts_put_together_stay_harmless() -> None:
    parts = [safe_text.say("{text}", text=text) for text in (*PRIVATE, *LOUD)]

    assert_harmless([safe_text.joined(parts), safe_text.clip(safe_text.joined(parts, " "), 99)])


@pytest.mark.parametrize("text", [*PRIVATE, *LOUD[:-1]], ids=lambda text: ascii(text[:30]))
def test_a_picture_is_the_same_whatever_texts_there_are(text: str) -> None:
    rows = [SeriesRowView(step=step, metrics={"loss": 1.0 / step}) for step in range(1, 5)]
    hostile = [
        row.model_copy(update={"metrics": row.metrics | {text: 9.0}, "timings": {text: 1.0}}) for row in rows
    ]

    assert loss_curve(hostile, family=text, run_id=text) == loss_curve(rows)


def hostile_api(text: str, *, refuses: bool) -> Callable[[httpx.Request], httpx.Response]:
    """An API whose every free text is hostile."""

    def answer(request: httpx.Request) -> httpx.Response:
        if refuses:
            errors = [{"pointer": text, "message": text}, {"pointer": f"/{text}", "message": text}]
            problem = {"code": "CONFIG_INVALID", "message": text, "request_id": text, "errors": errors}
            return httpx.Response(422, content=json.dumps(problem))
        path = request.url.path
        run = view_with(text, name="my run", status="paused")
        tokenizer = {"tokenizer_id": text, "status": "completed", "method": text, "message": text}
        kind = {
            "name": text,
            "title": text,
            "extra": text,
            "supported_tokenizers": [text],
            "example": {text: text},
        }
        bodies: dict[str, object] = {
            "/runs": {"data": [run, run | {"run_id": text}], "has_more": False},
            "/tokenizers": {"data": [tokenizer, tokenizer | {"method": "char"}], "has_more": False},
            "/families": {
                "families": [
                    kind,
                    kind_of(GPT2).model_dump() | {"title": text, "supported_tokenizers": [text, "char"]},
                ],
                "tokenizers": [kind],
            },
            "/healthz": {"status": text, "version": text},
            f"/runs/{RUN}/checkpoints": {"run_id": RUN, "data": [{"step": 5, "path": text, "problem": text}]},
        }
        return httpx.Response(200, content=json.dumps(bodies.get(path, run)))

    return answer


def pressing(press: str) -> Callable[[Commands], Coroutine[object, object, Answer]]:
    """Somebody presses a button."""
    return lambda commands: commands.pressed(press)


SAID_BY_AN_API = (*PRIVATE[::4], *LOUD[:3])


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("text", SAID_BY_AN_API, ids=lambda text: ascii(text[:30]))
def test_no_command_shows_anything_of_a_hostile_api(text: str, refuses: bool) -> None:
    """But for titles of families, which are made harmless, and hidden where they look private."""
    with desk_over(hostile_api(text, refuses=refuses)) as desk:
        desk.watching.run_ids.append(text)
        form = TrainForm(family="gpt2", corpus="books", tokenizer=RUN, max_steps=5)
        titles, hints = desk.suggest("family"), desk.run(lambda commands: commands.hints())
        shown: list[object] = [
            desk.run(lambda commands: commands.train(form, idempotency_key="k")),
            desk.run(lambda commands: commands.status(RUN)),
            desk.run(lambda commands: commands.cancel(RUN)),
            desk.run(lambda commands: commands.pause(RUN)),
            desk.run(lambda commands: commands.resume(RUN)),
            desk.run(lambda commands: commands.runs()),
            desk.run(lambda commands: commands.service()),
            desk.run(lambda commands: commands.watch(RUN)),
            desk.run(lambda commands: commands.watch(None)),
            desk.run(lambda commands: commands.unwatch(RUN)),
            desk.run(pressing(written(TurnTo(1)))),
            *(desk.run(pressing(written(Do(verb, RUN)))) for verb in VERBS),
            *(desk.offers(f"{command}.run_id") for command in ("status", "resume", "watch", "unwatch")),
            *(desk.offers(option, family="gpt2") for option in ("tokenizer", "device", "settings")),
            *hints.values(),
        ]

    assert set(titles) == (set() if refuses else {"gpt2"})
    assert_harmless([*titles.values(), *hints.values()])
    for one in shown:
        assert_harmless(one)
        assert_silent(one)


COVERED = {
    "cards.answers.asked_card",
    "cards.answers.dropped_card",
    "cards.answers.ordered_card",
    "cards.answers.question_card",
    "cards.answers.run_list_card",
    "cards.answers.service_card",
    "cards.answers.stale_card",
    "cards.answers.unwatched_card",
    "cards.answers.watched_card",
    "cards.answers.watching_card",
    "cards.curves.loss_curve",
    "cards.figures.bar",
    "cards.figures.clock",
    "cards.figures.count",
    "cards.figures.from_now",
    "cards.figures.measure",
    "cards.figures.percent",
    "cards.figures.short_count",
    "cards.figures.steps",
    "cards.run_card.run_card",
    "cards.run_words.called",
    "cards.run_words.measure_word",
    "cards.run_words.phase_word",
    "cards.run_words.standing",
    "cards.run_words.status_sign",
    "cards.run_words.status_word",
    "cards.safe_text.clip",
    "cards.safe_text.joined",
    "cards.safe_text.name",
    "cards.safe_text.run_id",
    "cards.safe_text.say",
    "cards.safe_text.word",
    "cards.sentences.error_card",
    "cards.sentences.error_text",
    "cards.sentences.reason_sentence",
    "cards.sentences.sentence",
    *(
        f"commands.commands.Commands.{name}"
        for name in ("cancel", "hints", "pause", "pressed", "resume", "runs", "service")
    ),
    *(f"commands.commands.Commands.{name}" for name in ("status", "suggest", "train", "unwatch", "watch")),
}
"""Everything above is fed; whoever writes another formatter feeds it here too."""
REACHED = {
    "commands.hints.option_hint",
    "commands.hints.train_hints",
    "commands.service.look_at_service",
    "commands.service.missing_parts",
    "commands.setting_suggestions.setting_suggestions",
    "commands.setting_suggestions.value_suggestions",
    "commands.steering.Steering.ask",
    "commands.steering.Steering.do",
    "commands.steering.Steering.order",
    "commands.steering.obstacle",
    "commands.suggestions.Suggestions.suggest",
    "commands.suggestions.run_label",
}
"""Inside of Commands: all they say comes out of its methods."""


def test_every_formatter_is_fed() -> None:
    assert set(formatters()) == COVERED | REACHED
