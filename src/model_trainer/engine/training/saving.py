"""When a run saves: by steps, by the clock, for its best weights, and before it stands still."""

from collections.abc import Callable

from model_trainer.engine.training.intervals import Intervals

Now = Callable[[], float]
"""Seconds, from any beginning."""


class SaveSchedule:
    """Whether a checkpoint is due. One that cannot be taken stays due until it is."""

    def __init__(self, every: Intervals, *, total_steps: int, now: Now) -> None:
        self._every = every
        self._total_steps = total_steps
        self._now = now
        self._last_seconds = now()
        self._is_due = False
        self.last_step = 0
        """The newest step that needs no checkpoint: it has one, or nothing has happened yet."""

    def begin(self, step: int) -> None:
        """Training begins after `step` steps, which are on disk if there are any."""
        self.last_step = step
        self._last_seconds = self._now()

    def is_due(self, step: int) -> bool:
        """Whether one should be written now, by steps or by the clock."""
        steps, seconds = self._every.checkpoint, self._every.checkpoint_seconds
        by_steps = step == self._total_steps or (steps is not None and step % steps == 0)
        by_clock = seconds is not None and self._now() - self._last_seconds >= seconds
        self._is_due = self._is_due or by_steps or by_clock
        return self._is_due

    def taken(self, step: int) -> None:
        """A snapshot of `step` is on its way to disk."""
        self.begin(step)
        self._is_due = False
