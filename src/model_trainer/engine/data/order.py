"""The order of the data: which windows a batch is made of, as a pure function of (seed, step). Nothing is iterated.

A window is `window` tokens and the one after them. An optimizer step has `rows` windows; with gradient accumulation
each micro-batch takes its share of the rows, so that the split into micro-batches changes nothing.
"""

from dataclasses import dataclass
from typing import Protocol

from model_trainer.engine.data.permutation import mixed, permuted

_OFFSET = 1
_SHUFFLE = 2
"""Keep the two uses of one seed apart."""


class DataOrder(Protocol):
    """Where the windows of each step begin."""

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in one pass over the data."""
        ...

    def starts(self, step: int, rows: range) -> list[int]:
        """First token of the windows in these rows of a step."""
        ...

    def restarts(self, step: int) -> bool:
        """Whether carried state is dropped before this step."""
        ...


@dataclass(frozen=True, slots=True)
class ShuffledWindows:
    """Every window once an epoch, in a seeded order, cut at a seeded offset that is another one each epoch."""

    num_tokens: int
    window: int
    rows: int
    seed: int

    @property
    def windows_per_epoch(self) -> int:
        """One window's worth of tokens is left free for the offset, where there is one to spare."""
        return max(1, self.num_tokens // self.window - 1)

    @property
    def steps_per_epoch(self) -> float:
        """Not whole in general: a step may end one epoch and begin the next."""
        return self.windows_per_epoch / self.rows

    def starts(self, step: int, rows: range) -> list[int]:
        """Windows are dealt out one by one over all steps and epochs."""
        return [self._start(step * self.rows + row) for row in rows]

    def restarts(self, step: int) -> bool:
        """Windows have nothing to do with one another: every step starts cold."""
        return True

    def _start(self, draw: int) -> int:
        epoch, index = divmod(draw, self.windows_per_epoch)
        num_offsets = self.num_tokens - self.windows_per_epoch * self.window
        offset = mixed(self.seed, epoch, _OFFSET) % num_offsets
        key = mixed(self.seed, epoch, _SHUFFLE)
        return offset + self.window * permuted(index, size=self.windows_per_epoch, key=key)


@dataclass(frozen=True, slots=True)
class ParallelStreams:
    """Each row reads its own part of the stream from front to back, one window a step; all rows wrap around together.

    Where the parts do not divide into whole windows, a seeded offset, another one each epoch, says where reading
    begins. Parts overlap only when there are fewer tokens than one window for every row.
    """

    num_tokens: int
    window: int
    rows: int
    seed: int

    @property
    def windows_per_epoch(self) -> int:
        """Windows of one row."""
        return self._part // self.window

    @property
    def steps_per_epoch(self) -> float:
        """Whole: all rows end together."""
        return float(self.windows_per_epoch)

    def starts(self, step: int, rows: range) -> list[int]:
        """Row r begins at r / (rows - 1) of the way to the last possible part."""
        epoch, index = divmod(step, self.windows_per_epoch)
        spare = self._part - self.windows_per_epoch * self.window
        offset = mixed(self.seed, epoch, _OFFSET) % (spare + 1)
        last_part = self.num_tokens - 1 - self._part
        return [row * last_part // max(1, self.rows - 1) + offset + index * self.window for row in rows]

    def restarts(self, step: int) -> bool:
        """Cold at the start of each pass."""
        return step % self.windows_per_epoch == 0

    @property
    def _part(self) -> int:
        return max((self.num_tokens - 1) // self.rows, self.window)
