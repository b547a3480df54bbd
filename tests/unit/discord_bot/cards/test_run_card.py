from dataclasses import replace

import pytest

from model_trainer.core.contracts.events import Event
from model_trainer.core.contracts.run import Phase, Progress, RunStatus
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from model_trainer.discord_bot.cards.card import Card, Picture, Tone
from model_trainer.discord_bot.cards.figures import BAR_BLOCKS
from model_trainer.discord_bot.cards.run_card import MOST_MEASURES, run_card
from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.cards.run_words import (
    called,
    measure_word,
    phase_word,
    standing,
    status_sign,
    status_word,
    tone_of,
)
from model_trainer.discord_bot.cards.sentences import reason_sentence, sentence
from tests.unit.discord_bot.told import (
    NOW_MS,
    RUN,
    cancelled,
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
    series_ended,
    started,
    told,
)


def card_of(*events: Event) -> Card:
    return run_card(told(*events))


def shown(card: Card) -> dict[str, str]:
    return {field.name: field.value for field in card.fields}


def presses(card: Card) -> list[str]:
    return [button.press for button in card.buttons]


def test_a_training_shows_what_it_does_how_far_and_how_well() -> None:
    card = card_of(
        queued(),
        started(),
        configured(),
        progressed(),
        measured(
            loss=2.34567, validation_loss=2.5, validation_perplexity=12.18, learning_rate=1e-3, epoch=0.5
        ),
        saved(600),
    )

    assert card.title == "\u25b6\ufe0f gpt2 training: running"
    assert card.text == "**Training**\n" + "\u2588" * 6 + "\u2591" * 6 + "  50 %"
    assert shown(card) == {
        "Step": "600 of 1,200",
        "Speed": "21,500 tokens/s",
        "Time left": f"<t:{NOW_MS // 1000 + 3 + 90}:R>",
        "Loss": "2.346",
        "Validation loss": "2.5",
        "Validation perplexity": "12.18",
        "Checkpoint": "step 600",
        "Parameters": "3.4M",
    }
    assert (card.tone, card.mark) == ("running", RUN)
    assert all(field.is_short for field in card.fields)


def test_a_waiting_run_says_so() -> None:
    card = card_of(queued())

    assert (card.title, card.text) == ("\u23f3 gpt2 training: waiting", "It waits for a worker.")
    assert card.fields == ()


def test_a_run_that_only_starts_has_no_bar() -> None:
    assert card_of(queued(), started()).text == "**Starting**"


def test_the_bar_is_of_the_phase() -> None:
    text = card_of(started(), progressed(Progress(fraction=0.25), phase=Phase.TOKENIZING)).text

    assert text == "**Tokenizing**\n" + "\u2588" * 3 + "\u2591" * (BAR_BLOCKS - 3) + "  25 %"


def test_steps_are_known_from_the_series_too() -> None:
    assert shown(card_of(started(), configured()))["Step"] == "0 of 1,200"


def test_perplexity_of_training_is_shown_where_there_is_none_of_validation() -> None:
    assert shown(card_of(measured(perplexity=7.4)))["Perplexity"] == "7.4"
    assert "Perplexity" not in shown(card_of(measured(perplexity=7.4, validation_perplexity=8.0)))


def test_a_few_other_measures_are_shown_after_the_losses() -> None:
    many = {f"m{number}": 1.0 for number in range(20)}

    assert list(shown(card_of(measured(loss=1.0, **many))))[: MOST_MEASURES + 3] == [
        "Step",
        "Loss",
        "M0",
        "M1",
        "M10",
        "M11",
        "M12",
        "M13",
    ]


def test_a_later_attempt_is_counted() -> None:
    assert "Attempt" not in shown(card_of(started(1)))
    assert shown(card_of(started(2)))["Attempt"] == "2"


def test_damaged_checkpoints_are_counted() -> None:
    assert shown(card_of(rejected(), rejected()))["Damaged checkpoints"] == "2"


def test_an_evaluation_stands_in_a_field_of_its_own() -> None:
    card = card_of(evaluated({"loss": 1.5, "bits_per_byte": 0.72}, split="test"))

    assert shown(card) == {"Evaluated on test": "Loss: 1.5\nBits per byte: 0.7200"}
    assert not card.fields[0].is_short


def test_a_regression_is_a_warning_however_much_was_measured() -> None:
    many = {f"m{number}": 1.0 for number in range(20)}
    (value,) = shown(card_of(evaluated(many, regression=True))).values()

    assert value.count("\n") == MOST_MEASURES
    assert value.endswith("\u26a0\ufe0f worse than the run it was compared with")


def test_an_evaluation_without_a_known_split_or_measure_is_shown_without() -> None:
    assert list(shown(card_of(evaluated(split="/srv")))) == ["Evaluated"]
    assert card_of(evaluated({})).fields == ()


def test_a_paused_run_says_why() -> None:
    assert card_of(paused()).text == f"It stands still. {reason_sentence(None)}"
    assert card_of(paused(Reason.DISK_FULL)).text == f"It stands still. {reason_sentence(Reason.DISK_FULL)}"


def test_a_completed_run_shows_its_times_and_its_last_figures() -> None:
    card = card_of(queued(), started(), progressed(), series_ended(500), completed({"validation_loss": 1.5}))

    assert (card.text, card.tone) == ("It is done.", "good")
    assert shown(card) == {
        "Step": "1,200 of 1,200",
        "Validation loss": "1.5",
        "Best at step": "500",
        "Took": "0:03",
        "Waited": "0:01",
        "Ended": f"<t:{NOW_MS // 1000 + 4}:R>",
    }


def test_a_completed_run_says_when_it_stopped_early_or_got_worse() -> None:
    card = card_of(series_ended(early_stopped=True), evaluated(regression=True), completed())

    assert card.text.splitlines() == [
        "It is done.",
        "It stopped early: validation got no better.",
        "\u26a0\ufe0f It is worse than the run it was compared with.",
    ]


def test_a_run_that_never_started_shows_when_it_ended() -> None:
    assert list(shown(card_of(queued(), cancelled(0)))) == ["Ended"]
    assert list(shown(card_of(started(), cancelled(0)))) == ["Took", "Ended"]


def test_a_failed_run_says_why_in_our_own_words() -> None:
    card = card_of(queued(), failed(message="/srv/secret.txt"))

    assert (card.text, card.tone) == (sentence(ErrorCode.DIVERGED), "bad")


def test_a_failed_training_says_how_it_goes_on() -> None:
    transient = failed(ErrorCode.WORKER_LOST, Reason.WORKER_LOST, FailureClass.TRANSIENT)

    assert card_of(queued(), transient).text.endswith("Resume lets it try again.")
    assert card_of(queued(), saved(600), failed()).text.endswith(
        "Resume lets it go on from its checkpoint at step 600."
    )
    assert "Resume" not in card_of(queued(kind="evaluate"), saved(600), transient).text


def test_a_failed_run_without_a_code_says_its_reason() -> None:
    story = RunStory(run_id=RUN, status=RunStatus.FAILED, reason=Reason.TIMEOUT)

    assert run_card(story).text == reason_sentence(Reason.TIMEOUT)


def test_a_cancelled_run_ended_because_somebody_asked() -> None:
    assert card_of(cancelled()).text == "It ended because somebody asked."


def test_a_run_that_is_being_cancelled_still_shows_its_work() -> None:
    story = told(queued(), started(), progressed()).model_copy(update={"status": RunStatus.CANCELLING})

    assert run_card(story).text.startswith("**Training**")
    assert "Speed" not in shown(run_card(story))


@pytest.mark.parametrize(
    ("status", "of_training", "of_others"),
    [
        (RunStatus.QUEUED, ["pause", "cancel"], ["cancel"]),
        (RunStatus.RUNNING, ["pause", "cancel"], ["cancel"]),
        (RunStatus.PAUSED, ["resume", "cancel"], ["cancel"]),
        (RunStatus.CANCELLING, [], []),
        (RunStatus.COMPLETED, [], []),
        (RunStatus.FAILED, ["resume"], []),
        (RunStatus.CANCELLED, ["resume"], []),
    ],
)
def test_buttons_ask_for_what_can_be_done_now(
    status: RunStatus, of_training: list[str], of_others: list[str]
) -> None:
    training = run_card(RunStory(run_id=RUN, status=status, kind="train"))
    other = run_card(RunStory(run_id=RUN, status=status, kind="evaluate"))

    assert presses(training) == [f"ask:{verb}:{RUN}" for verb in of_training]
    assert presses(other) == [f"ask:{verb}:{RUN}" for verb in of_others]


def test_buttons_look_like_what_they_do() -> None:
    waiting = run_card(RunStory(run_id=RUN, kind="train"))
    ended = run_card(RunStory(run_id=RUN, kind="train", status=RunStatus.FAILED))

    assert [(button.label, button.style) for button in (*waiting.buttons, *ended.buttons)] == [
        ("Pause", "quiet"),
        ("Cancel", "danger"),
        ("Resume", "success"),
    ]


def test_what_is_no_run_id_is_neither_mark_nor_press() -> None:
    card = run_card(RunStory(run_id="/srv/secret.txt", kind="train"))

    assert (card.mark, card.buttons) == ("", ())


def test_a_picture_goes_with_the_card() -> None:
    picture = Picture("loss.png", b"png")

    assert run_card(told(completed()), picture=picture).picture == picture
    assert replace(run_card(told(completed()), picture=picture), picture=None) == run_card(told(completed()))


def test_every_status_has_its_word_sign_and_colour() -> None:
    words = [status_word(status) for status in RunStatus]
    colours: list[Tone] = ["waiting", "running", "still", "still", "good", "bad", "plain"]

    assert words == ["waiting", "running", "paused", "stopping", "completed", "failed", "cancelled"]
    assert [tone_of(status) for status in RunStatus] == colours
    assert len({status_sign(status) for status in RunStatus}) == 6


def test_where_a_run_stands_begins_a_sentence() -> None:
    known = [standing(status) for status in RunStatus]

    assert known[-3:] == ["It has completed", "It has failed", "It was cancelled"]
    assert len(set(known)) == len(RunStatus)
    assert standing("daydreaming") == "It is daydreaming"


def test_phases_are_words() -> None:
    assert [phase_word(phase) for phase in (Phase.TRAINING, Phase.FINALIZING)] == ["Training", "Finalizing"]


@pytest.mark.parametrize(
    ("kind", "family", "given", "said"),
    [
        ("train", "gpt2", "", "gpt2 training"),
        ("tokenizer", "bpe", "", "bpe tokenizer"),
        ("evaluate", "gpt2", "", "gpt2 evaluation"),
        ("", "", "", "run"),
        ("newer", "/srv", "", "run"),
        ("train", "gpt2", "my run", "gpt2 training \u201cmy run\u201d"),
        ("train", "gpt2", "secret.txt", "gpt2 training \u201c(hidden)\u201d"),
    ],
)
def test_a_run_is_called_by_what_it_is_and_what_people_call_it(
    kind: str, family: str, given: str, said: str
) -> None:
    assert called(RunStory(run_id=RUN, kind=kind, family=family, name=given)) == said


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("loss", "Loss"),
        ("validation_loss", "Validation loss"),
        ("validation_roc_auc", "Validation ROC-AUC"),
        ("validation_f1", "Validation F1"),
        ("bits_per_byte", "Bits per byte"),
        ("gradient_norm", "Gradient norm"),
        ("validation_new_thing", "Validation new thing"),
    ],
)
def test_measures_have_names_for_people(metric: str, said: str) -> None:
    assert measure_word(metric) == said
