"""A run's message: its story as a card."""

from collections.abc import Iterable
from typing import assert_never

from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.contracts.run import Phase, RunKind, RunStatus
from model_trainer.core.errors import FailureClass
from model_trainer.discord_bot.cards.card import Button, Card, Field, Picture, SafeText
from model_trainer.discord_bot.cards.figures import (
    bar,
    clock,
    count,
    from_now,
    measure,
    percent,
    short_count,
    steps,
)
from model_trainer.discord_bot.cards.presses import Ask, Verb, written
from model_trainer.discord_bot.cards.run_story import RunStory, is_metric_name
from model_trainer.discord_bot.cards.run_words import (
    called,
    measure_word,
    phase_word,
    status_sign,
    status_word,
    tone_of,
)
from model_trainer.discord_bot.cards.safe_text import joined, say, word
from model_trainer.discord_bot.cards.sentences import reason_sentence, sentence

MOST_MEASURES = 6
_OWN_FIELDS = ("loss", "validation_loss", "validation_perplexity", "perplexity")
_NOT_MEASURES = frozenset(("learning_rate", "matrix_learning_rate", "tokens_seen", "epoch", "gradient_norm"))
"""What a row says besides how good the model is."""
_AT_WORK = frozenset(Phase) - {Phase.WAITING, Phase.STARTING, Phase.DONE}


def run_card(story: RunStory, *, picture: Picture | None = None) -> Card:
    """The card of a run: phase, bar, step, losses, rates, time left; its end; buttons for what may be asked of it now."""
    sign, status = status_sign(story.status), status_word(story.status)
    return Card(
        title=joined([sign, say("{what}: {status}", what=called(story), status=status)], " "),
        text=joined(_lines(story)),
        fields=tuple(_fields(story)),
        tone=tone_of(story.status),
        mark=story.run_id if is_ulid(story.run_id) else "",
        buttons=_buttons(story),
        picture=picture,
    )


def _lines(story: RunStory) -> list[SafeText]:
    """What is happening, or what became of it."""
    match story.status:
        case RunStatus.QUEUED:
            return [SafeText("It waits for a worker.")]
        case RunStatus.RUNNING | RunStatus.CANCELLING:
            return _at_work(story)
        case RunStatus.PAUSED:
            return [joined([SafeText("It stands still."), reason_sentence(story.reason)], " ")]
        case RunStatus.COMPLETED:
            return _completed(story)
        case RunStatus.FAILED:
            return _failed(story)
        case RunStatus.CANCELLED:
            return [SafeText("It ended because somebody asked.")]
        case _:
            assert_never(story.status)


def _at_work(story: RunStory) -> list[SafeText]:
    phase = joined([SafeText("**"), phase_word(story.phase), SafeText("**")], "")
    if story.phase not in _AT_WORK:
        return [phase]
    fraction = story.progress.fraction
    return [phase, joined([bar(fraction), percent(fraction)], "  ")]


def _completed(story: RunStory) -> list[SafeText]:
    lines = [SafeText("It is done.")]
    if story.early_stopped:
        lines.append(SafeText("It stopped early: validation got no better."))
    if story.regression is True:
        lines.append(SafeText("\u26a0\ufe0f It is worse than the run it was compared with."))
    return lines


def _failed(story: RunStory) -> list[SafeText]:
    why = reason_sentence(story.reason) if story.error_code is None else sentence(story.error_code)
    if story.kind != RunKind.TRAIN:
        return [why]
    if story.failure_class is FailureClass.TRANSIENT:
        return [why, SafeText("Resume lets it try again.")]
    if story.checkpoint_step is not None:
        last = count(story.checkpoint_step)
        return [why, say("Resume lets it go on from its checkpoint at step {last}.", last=last)]
    return [why]


def _fields(story: RunStory) -> Iterable[Field]:
    yield from _of_progress(story)
    yield from _of_metrics(story)
    if story.best_step is not None:
        yield _short("Best at step", count(story.best_step))
    if story.checkpoint_step is not None:
        yield _short("Checkpoint", say("step {step}", step=count(story.checkpoint_step)))
    if story.rejected_checkpoints > 0:
        yield _short("Damaged checkpoints", count(story.rejected_checkpoints))
    if story.num_parameters > 0:
        yield _short("Parameters", short_count(story.num_parameters))
    if story.attempt > 1:
        yield _short("Attempt", count(story.attempt))
    yield from _of_evaluation(story)
    yield from _of_times(story)


def _of_progress(story: RunStory) -> Iterable[Field]:
    progress = story.progress
    if story.step > 0 or story.total_steps > 0:
        yield _short("Step", steps(story.step, story.total_steps))
    if story.status is not RunStatus.RUNNING:
        return
    if progress.tokens_per_second is not None:
        yield _short("Speed", say("{rate} tokens/s", rate=measure(progress.tokens_per_second)))
    if progress.eta_seconds is not None:
        yield _short("Time left", from_now(story.progress_at_ms + 1000 * progress.eta_seconds))


def _of_metrics(story: RunStory) -> Iterable[Field]:
    """Losses first, perplexity where the run has measured one, then a few others."""
    metrics = {name: value for name, value in story.metrics.items() if is_metric_name(name)}
    perplexity = "validation_perplexity" if "validation_perplexity" in metrics else "perplexity"
    first = [name for name in ("loss", "validation_loss", perplexity) if name in metrics]
    others = [name for name in sorted(metrics) if name not in _NOT_MEASURES and name not in _OWN_FIELDS]
    for name in [*first, *others[:MOST_MEASURES]]:
        yield _short(measure_word(name), measure(metrics[name]))


def _of_evaluation(story: RunStory) -> Iterable[Field]:
    """One field with all that was measured."""
    measured = [
        say("{name}: {value}", name=measure_word(name), value=measure(value))
        for name, value in story.evaluation.items()
        if is_metric_name(name)
    ]
    if not measured:
        return
    warning = [SafeText("\u26a0\ufe0f worse than the run it was compared with")] if story.regression else []
    split = word(story.evaluated_split)
    title = say("Evaluated on {split}", split=split) if split else SafeText("Evaluated")
    yield Field(name=title, value=joined([*measured[:MOST_MEASURES], *warning]), is_short=False)


def _of_times(story: RunStory) -> Iterable[Field]:
    """How long it took, once it has ended."""
    queued, started, ended = story.queued_at_ms, story.started_at_ms, story.ended_at_ms
    if ended is None:
        return
    if started is not None:
        yield _short("Took", clock((ended - started) / 1000))
    if queued is not None and started is not None:
        yield _short("Waited", clock((started - queued) / 1000))
    yield _short("Ended", from_now(ended))


def _short(name: str, value: SafeText) -> Field:
    return Field(name=SafeText(name), value=value)


def _buttons(story: RunStory) -> tuple[Button, ...]:
    """What may be asked of it where it stands; each asks before it acts."""
    if not is_ulid(story.run_id):
        return ()
    return tuple(_button(verb, story.run_id) for verb in verbs_of(story))


def verbs_of(story: RunStory) -> tuple[Verb, ...]:
    """What may be asked of a run now; only trainings can stand still and go on."""
    steers = story.kind == RunKind.TRAIN
    match story.status:
        case RunStatus.QUEUED | RunStatus.RUNNING:
            return ("pause", "cancel") if steers else ("cancel",)
        case RunStatus.PAUSED:
            return ("resume", "cancel") if steers else ("cancel",)
        case RunStatus.FAILED | RunStatus.CANCELLED:
            return ("resume",) if steers else ()
        case RunStatus.CANCELLING | RunStatus.COMPLETED:
            return ()
        case _:
            assert_never(story.status)


def _button(verb: Verb, run_id: str) -> Button:
    press = written(Ask(verb, run_id))
    match verb:
        case "pause":
            return Button(SafeText("Pause"), press)
        case "resume":
            return Button(SafeText("Resume"), press, style="success")
        case "cancel":
            return Button(SafeText("Cancel"), press, style="danger")
        case _:
            assert_never(verb)
