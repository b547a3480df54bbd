"""Answers to commands and buttons, other than a run's own card: lists, questions, short confirmations."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.contracts.run import Phase, RunStatus
from model_trainer.core.errors import AppError
from model_trainer.discord_bot.cards.card import Button, Card, Field, SafeText
from model_trainer.discord_bot.cards.figures import count, measure, percent, steps
from model_trainer.discord_bot.cards.presses import Do, Drop, TurnTo, Verb, written
from model_trainer.discord_bot.cards.run_card import run_card
from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.cards.run_words import called, status_sign, status_word
from model_trainer.discord_bot.cards.safe_text import joined, run_id, say
from model_trainer.discord_bot.cards.sentences import error_text

MOST_LISTED = 20
LAST_PAGE = 9999
"""Buttons say no higher number."""
_VERSION = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,5}){1,3}(?:\.?(?:a|b|rc|dev|post)[0-9]{1,5})?")


def run_list_card(stories: Sequence[RunStory], *, page: int, has_more: bool) -> Card:
    """A page of runs, newest first, with buttons to the pages beside it."""
    if not stories:
        return _no_runs(page)
    title = SafeText("Runs") if page == 0 else say("Runs, page {page}", page=count(page + 1))
    return Card(title=title, text=_listed(stories), buttons=_turns(page, has_more=has_more))


def watching_card(run_ids: Sequence[str]) -> Card:
    """Which runs are followed, newest first."""
    if not run_ids:
        return Card(
            title=SafeText("Watching"),
            text=SafeText("No run is watched. /trainer watch follows one that somebody else ordered."),
        )
    shown = [_code(run_id(one)) for one in run_ids[:MOST_LISTED]]
    return Card(title=SafeText("Watching"), text=joined([*shown, *_left_out(len(run_ids))]))


def service_card(
    *,
    problem: AppError | None,
    version: str,
    running: Sequence[RunStory] | None,
    num_watched: int,
    missing: Sequence[SafeText] = (),
) -> Card:
    """How the service is, and what it is doing.

    `problem` is why it is not ready, `missing` what it lacks where it can say so; `running` are all runs that have not ended,
    None where nobody knows.
    """
    is_ready = problem is None
    known = _VERSION.fullmatch(version) is not None
    return Card(
        title=SafeText("Model Trainer is ready" if is_ready else "Model Trainer is not ready"),
        text=joined([_readiness(problem, missing), *([_listed(running)] if running else [])], "\n\n"),
        fields=(
            *([Field(name=SafeText("Version"), value=SafeText(version))] if known else []),
            *([] if running is None else [Field(name=SafeText("Runs now"), value=count(len(running)))]),
            Field(name=SafeText("Watched"), value=count(num_watched)),
        ),
        tone="good" if is_ready else "bad",
    )


def question_card(verb: Verb, story: RunStory, *, is_foreign: bool) -> Card:
    """Asks before something is done with a run. `checkpoint_step` of the story: where it would go on."""
    lines = [
        joined([called(story), _code(run_id(story.run_id))], " "),
        _consequence(verb, story),
        *([SafeText("Somebody else ordered this run.")] if is_foreign else []),
    ]
    if not is_ulid(story.run_id):
        return Card(title=_question(verb), text=joined(lines), tone="still")
    yes = Button(
        _yes(verb), written(Do(verb, story.run_id)), style="danger" if verb == "cancel" else "primary"
    )
    no = Button(SafeText("No"), written(Drop()))
    return Card(title=_question(verb), text=joined(lines), tone="still", buttons=(yes, no))


def asked_card(verb: Verb, story: RunStory) -> Card:
    """The API has taken an order to cancel, pause or resume; `story` tells where the run stands since."""
    match verb:
        case "cancel" if story.status is RunStatus.CANCELLED:
            title, text = "Cancelled", "It has ended."
        case "cancel":
            title, text = "Cancelling", "It stops at its next step."
        case "pause" if story.status is RunStatus.PAUSED:
            title, text = "Paused", "It stands still until it is resumed."
        case "pause":
            title, text = "Pausing", "It saves a checkpoint at its next step, then stands still."
        case "resume":
            title, text = "Resumed", "It is in line again."
        case _:
            assert_never(verb)
    about = joined([called(story), _code(run_id(story.run_id))], " ")
    return Card(title=SafeText(title), text=joined([SafeText(text), about]), tone="good")


def ordered_card(story: RunStory) -> Card:
    """The API has taken an order for a training."""
    card = run_card(story)
    follows = SafeText("It is ordered; a message of its own will tell how it goes.")
    return replace(card, text=joined([card.text, follows]), buttons=())


def watched_card(of_run: str) -> Card:
    """A run is followed from now on."""
    return _short_card("Watching", "This run is followed from now on.", of_run)


def unwatched_card(of_run: str, *, was_watched: bool) -> Card:
    """A run is followed no more."""
    text = "This run is followed no more." if was_watched else "This run was not watched."
    return _short_card("Not watching", text, of_run)


def dropped_card() -> Card:
    """Somebody said no."""
    return Card(title=SafeText("Nothing was done"), text=SafeText("All stays as it is."))


def stale_card() -> Card:
    """A button that says nothing any more."""
    return Card(
        title=SafeText("This button is too old"),
        text=SafeText("Give the command again: /trainer runs, or /status with a run's id."),
    )


def _readiness(problem: AppError | None, missing: Sequence[SafeText]) -> SafeText:
    if problem is None:
        return SafeText("It has all it needs.")
    if missing:
        return joined([SafeText("The API answers, but lacks"), *(_point(one) for one in missing)])
    return error_text(problem)


def _point(text: SafeText) -> SafeText:
    return say("\u2022 {text}", text=text)


def _short_card(title: str, text: str, of_run: str) -> Card:
    return Card(title=SafeText(title), text=joined([SafeText(text), _code(run_id(of_run))]))


def _listed(stories: Sequence[RunStory]) -> SafeText:
    """One line a run, and a second with its id."""
    lines = [line for story in stories[:MOST_LISTED] for line in _line(story)]
    return joined([*lines, *_left_out(len(stories))])


def _line(story: RunStory) -> list[SafeText]:
    facts = joined([status_word(story.status), *_facts(story)], ", ")
    head = joined([status_sign(story.status), say("{what}:", what=called(story)), facts], " ")
    return [head, _code(run_id(story.run_id))]


def _facts(story: RunStory) -> list[SafeText]:
    """How far it is, how good: what is known of it."""
    found: list[SafeText] = []
    progress = story.progress
    if story.status is RunStatus.RUNNING and story.phase is Phase.TRAINING:
        found.append(percent(progress.fraction))
    if progress.total_steps > 0:
        found.append(say("step {steps}", steps=steps(progress.step, progress.total_steps)))
    loss = story.metrics.get("validation_loss", story.metrics.get("loss"))
    if loss is not None:
        found.append(say("loss {loss}", loss=measure(loss)))
    return found


def _left_out(number: int) -> list[SafeText]:
    more = number - MOST_LISTED
    return [say("and {more} more", more=count(more))] if more > 0 else []


def _no_runs(page: int) -> Card:
    if page == 0:
        return Card(title=SafeText("Runs"), text=SafeText("There are none yet: /train orders one."))
    newest = Button(SafeText("Newest"), written(TurnTo(0)))
    return Card(title=SafeText("Runs"), text=SafeText("There are no more."), buttons=(newest,))


def _turns(page: int, *, has_more: bool) -> tuple[Button, ...]:
    newer = [Button(SafeText("Newer"), written(TurnTo(page - 1)))] if page > 0 else []
    older = [Button(SafeText("Older"), written(TurnTo(page + 1)))] if has_more and page < LAST_PAGE else []
    return (*newer, *older)


def _question(verb: Verb) -> SafeText:
    match verb:
        case "cancel":
            return SafeText("Cancel this run?")
        case "pause":
            return SafeText("Pause this run?")
        case "resume":
            return SafeText("Let this run go on?")
        case _:
            assert_never(verb)


def _yes(verb: Verb) -> SafeText:
    match verb:
        case "cancel":
            return SafeText("Yes, cancel it")
        case "pause":
            return SafeText("Yes, pause it")
        case "resume":
            return SafeText("Yes, resume it")
        case _:
            assert_never(verb)


def _consequence(verb: Verb, story: RunStory) -> SafeText:
    is_idle = story.status in (RunStatus.QUEUED, RunStatus.PAUSED)
    match verb:
        case "cancel" if is_idle:
            return SafeText("It ends at once. If it has a checkpoint, that is kept.")
        case "cancel":
            return SafeText("It stops at its next step and keeps its last checkpoint.")
        case "pause" if is_idle:
            return SafeText("It leaves the line and stands still until it is resumed.")
        case "pause":
            return SafeText("It saves a checkpoint at its next step and stands still until it is resumed.")
        case "resume" if story.checkpoint_step is None:
            return SafeText("It has no checkpoint yet: it begins at the start.")
        case "resume":
            return say("It goes on from its checkpoint at step {step}.", step=count(story.checkpoint_step))
        case _:
            assert_never(verb)


def _code(text: SafeText) -> SafeText:
    """As it is typed, easy to copy."""
    return SafeText(f"`{text}`")
