"""Runs in words: what one is called, where it stands, what it is doing, what was measured of it."""

from typing import assert_never

from model_trainer.core.contracts.run import Phase, RunStatus
from model_trainer.discord_bot.cards.card import SafeText, Tone
from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.cards.safe_text import name, say, word

_KINDS = {
    "train": "training",
    "tokenizer": "tokenizer",
    "evaluate": "evaluation",
    "calibrate": "calibration",
    "export": "export",
}
_STANDINGS: dict[str, str] = {
    RunStatus.QUEUED: "It waits for a worker",
    RunStatus.RUNNING: "It is running",
    RunStatus.PAUSED: "It is paused",
    RunStatus.CANCELLING: "It is being cancelled",
    RunStatus.COMPLETED: "It has completed",
    RunStatus.FAILED: "It has failed",
    RunStatus.CANCELLED: "It was cancelled",
}
_MEASURES = {
    "loss": "Loss",
    "perplexity": "Perplexity",
    "bits_per_byte": "Bits per byte",
    "accuracy": "Accuracy",
    "roc_auc": "ROC-AUC",
    "f1": "F1",
    "fpr": "False positives",
    "ece": "Calibration error",
    "tpr_at_fpr_1": "Found at 1 % false positives",
}


def called(story: RunStory) -> SafeText:
    """What a run is, and what people call it."""
    kind = SafeText(_KINDS.get(story.kind, "run"))
    what = say("{family} {kind}", family=word(story.family), kind=kind) if word(story.family) else kind
    given = name(story.name)
    return say("{what} \u201c{given}\u201d", what=what, given=given) if given else what


def status_word(status: RunStatus) -> SafeText:
    """Where it stands."""
    match status:
        case RunStatus.QUEUED:
            return SafeText("waiting")
        case RunStatus.RUNNING:
            return SafeText("running")
        case RunStatus.PAUSED:
            return SafeText("paused")
        case RunStatus.CANCELLING:
            return SafeText("stopping")
        case RunStatus.COMPLETED:
            return SafeText("completed")
        case RunStatus.FAILED:
            return SafeText("failed")
        case RunStatus.CANCELLED:
            return SafeText("cancelled")
        case _:
            assert_never(status)


def standing(status: str) -> SafeText:
    """The same as the beginning of a sentence, also of a status that only a newer server knows."""
    known = _STANDINGS.get(status)
    return say("It is {status}", status=word(status)) if known is None else SafeText(known)


def status_sign(status: RunStatus) -> SafeText:
    """The same as one sign."""
    match status:
        case RunStatus.QUEUED:
            return SafeText("\u23f3")
        case RunStatus.RUNNING:
            return SafeText("\u25b6\ufe0f")
        case RunStatus.PAUSED | RunStatus.CANCELLING:
            return SafeText("\u23f8\ufe0f")
        case RunStatus.COMPLETED:
            return SafeText("\u2705")
        case RunStatus.FAILED:
            return SafeText("\u274c")
        case RunStatus.CANCELLED:
            return SafeText("\U0001f6d1")
        case _:
            assert_never(status)


def tone_of(status: RunStatus) -> Tone:
    """The colour that goes with it."""
    match status:
        case RunStatus.QUEUED:
            return "waiting"
        case RunStatus.RUNNING:
            return "running"
        case RunStatus.PAUSED | RunStatus.CANCELLING:
            return "still"
        case RunStatus.COMPLETED:
            return "good"
        case RunStatus.FAILED:
            return "bad"
        case RunStatus.CANCELLED:
            return "plain"
        case _:
            assert_never(status)


def phase_word(phase: Phase) -> SafeText:
    """What it is doing."""
    return SafeText(phase.value.capitalize())


def measure_word(metric: str) -> SafeText:
    """A measure of metrics.jsonl as people call it; what this bot does not know keeps its name, with spaces."""
    of_what = metric.removeprefix("validation_")
    known = _MEASURES.get(of_what)
    if known is None:
        return say("{name}", name=metric.replace("_", " ").capitalize())
    if of_what == metric:
        return SafeText(known)
    is_abbreviation = known[:2].upper() == known[:2]
    return SafeText(f"Validation {known if is_abbreviation else known[0].lower() + known[1:]}")
