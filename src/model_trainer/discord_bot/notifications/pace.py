"""When a story is told: turning points and milestones at once, mere progress every few minutes."""

import math

from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.notifications.notes import RunNote

PROGRESS_SECONDS = 300.0
"""Progress between milestones is told at most this often."""
CURVE_HOURS = 1.0
"""So long after its end a run is given the picture that could not be drawn then."""
MILESTONES = 10
"""How many parts a phase has for those who follow it."""


def seconds_until_due(note: RunNote, *, now_ms: int) -> float | None:
    """How long the note's news may wait: 0 for what is told at once, None when there is no news."""
    waited_seconds = (now_ms - note.told_at_ms) / 1000
    if not note.has_news:
        is_wanted = note.lacks_curve and not note.is_muted and not _is_long_ago(note.story, now_ms)
        return max(0.0, PROGRESS_SECONDS - waited_seconds) if is_wanted else None
    if note.told is None or _landmarks(note.told) != _landmarks(note.story) or waited_seconds < 0:
        return 0.0  # a clock that was set back must not silence a run
    return max(0.0, PROGRESS_SECONDS - waited_seconds)


def _is_long_ago(story: RunStory, now_ms: int) -> bool:
    return now_ms - story.heard_at_ms > CURVE_HOURS * 3_600_000


def _landmarks(story: RunStory) -> tuple[object, ...]:
    """What is told at once when it changes."""
    return (
        story.status,
        story.attempt,
        story.phase,
        math.floor(story.progress.fraction * MILESTONES + 1e-9),
        story.checkpoint_step,
        story.rejected_checkpoints,
        story.evaluated_split,
        story.evaluation,
        story.regression,
        story.error_code,
        story.reason,
    )
