"""When news of a run are told."""

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import Phase, Progress, RunStatus
from model_trainer.core.errors import ErrorCode, Reason
from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.notifications.notes import RunNote
from model_trainer.discord_bot.notifications.pace import seconds_until_due

TOLD_AT_MS = 1_000_000
STORY = RunStory(
    run_id=new_ulid(),
    seq=10,
    status=RunStatus.RUNNING,
    phase=Phase.TRAINING,
    progress=Progress(step=31, total_steps=100, fraction=0.31),
)


def after(changes: dict[str, object]) -> RunNote:
    """A note of which STORY was told before these changes came."""
    note = RunNote(story=STORY).after_telling(STORY, message_id="m1", at_ms=TOLD_AT_MS)
    return note.heard(STORY.model_copy(update={"seq": 11, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"status": RunStatus.QUEUED},
        {"status": RunStatus.PAUSED},
        {"status": RunStatus.COMPLETED},
        {"attempt": 2},
        {"phase": Phase.EVALUATING},
        {"progress": Progress(step=40, total_steps=100, fraction=0.4)},
        {"progress": Progress(step=20, total_steps=100, fraction=0.2)},
        {"checkpoint_step": 31},
        {"rejected_checkpoints": 1},
        {"evaluated_split": "test"},
        {"evaluation": {"loss": 1.0}},
        {"regression": True},
        {"error_code": ErrorCode.WORKER_LOST},
        {"reason": Reason.DISK_FULL},
    ],
)
def test_turning_points_and_milestones_are_told_at_once(changes: dict[str, object]) -> None:
    assert seconds_until_due(after(changes), now_ms=TOLD_AT_MS) == 0.0


def test_a_tenth_is_a_milestone_although_binary_fractions_miss_it() -> None:
    seven_tenths = Progress(fraction=0.7 - 1e-16)
    assert seven_tenths.fraction < 0.7
    told = after({"progress": Progress(fraction=0.7)}).story
    note = RunNote(story=told).after_telling(told, message_id="m1", at_ms=TOLD_AT_MS)
    nearly = told.model_copy(update={"seq": 12, "progress": seven_tenths})
    assert seconds_until_due(note.heard(nearly), now_ms=TOLD_AT_MS) == 300.0


def test_mere_progress_is_told_every_five_minutes() -> None:
    note = after({"progress": Progress(step=39, total_steps=100, fraction=0.39), "metrics": {"loss": 2.0}})
    assert seconds_until_due(note, now_ms=TOLD_AT_MS) == 300.0
    assert seconds_until_due(note, now_ms=TOLD_AT_MS + 299_000) == 1.0
    assert seconds_until_due(note, now_ms=TOLD_AT_MS + 400_000) == 0.0


def test_what_was_never_told_is_told_at_once() -> None:
    assert seconds_until_due(RunNote(story=STORY), now_ms=TOLD_AT_MS) == 0.0


def test_nothing_is_due_when_all_is_told() -> None:
    note = RunNote(story=STORY).after_telling(STORY, message_id="m1", at_ms=0)
    assert seconds_until_due(note, now_ms=TOLD_AT_MS) is None


def test_a_clock_that_was_set_back_silences_no_run() -> None:
    assert seconds_until_due(after({"metrics": {"loss": 2.0}}), now_ms=TOLD_AT_MS - 1) == 0.0


def test_a_curve_that_is_missing_is_worth_another_try_every_five_minutes_for_an_hour() -> None:
    story = STORY.model_copy(update={"status": RunStatus.COMPLETED, "heard_at_ms": TOLD_AT_MS})
    note = RunNote(story=story).after_telling(story, message_id="m1", at_ms=TOLD_AT_MS, lacks_curve=True)

    assert seconds_until_due(note, now_ms=TOLD_AT_MS + 100_000) == 200.0
    assert seconds_until_due(note, now_ms=TOLD_AT_MS + 3_600_000) == 0.0
    assert seconds_until_due(note, now_ms=TOLD_AT_MS + 3_600_001) is None
    assert seconds_until_due(note.muted(), now_ms=TOLD_AT_MS + 100_000) is None
