"""What the step loop measures: losses and gradient norms, read from the device now and then; and time, by phase."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from model_trainer.core.contracts.checkpoint import WindowState
from model_trainer.core.errors import AppError, ErrorCode

_MOST_UNREAD = 256
"""Steps whose figures may wait on the device: a bound on memory, and on how late a NaN is noticed."""
_RECENT = 0.1
"""Weight of the newest step in the running step time."""


class LossWindow:
    """Mean loss and gradient norm since the last row, without waiting for the device at every step."""

    def __init__(self, *, overflow_is_normal: bool) -> None:
        """`overflow_is_normal`: fp16's loss scaling passes over steps with infinite gradients."""
        self.state = WindowState()
        self._overflow_is_normal = overflow_is_normal
        self._unread: list[Tensor] = []
        self._first_unread = 0

    def add(self, loss: Tensor, norm: Tensor, *, step: int) -> None:
        """Takes the figures of `step`, counted from 1."""
        if not self._unread:
            self._first_unread = step
        self._unread += (loss, norm)
        if len(self._unread) >= 2 * _MOST_UNREAD:
            self.read()

    def read(self) -> None:
        """Brings all figures in; raises DIVERGED when one is not finite."""
        if not self._unread:
            return
        values = _floats(torch.stack(self._unread))
        self._unread = []
        loss_sum, norm_sum = self.state.loss_sum, self.state.norm_sum
        num_steps, num_norms = self.state.num_steps, self.state.num_norms
        for place, (loss, norm) in enumerate(zip(values[::2], values[1::2], strict=True)):
            if not math.isfinite(loss):
                raise diverged("loss", step=self._first_unread + place)
            if math.isfinite(norm):
                norm_sum += norm
                num_norms += 1
            elif not self._overflow_is_normal:
                raise diverged("gradient norm", step=self._first_unread + place)
            loss_sum += loss
            num_steps += 1
        self.state = WindowState(
            loss_sum=loss_sum, norm_sum=norm_sum, num_steps=num_steps, num_norms=num_norms
        )

    def take(self) -> dict[str, float]:
        """The row's figures; the next window begins."""
        self.read()
        state, self.state = self.state, WindowState()
        row = {"loss": state.loss_sum / state.num_steps}
        if state.num_norms:
            row["gradient_norm"] = state.norm_sum / state.num_norms
        return row


class Clock:
    """Seconds by phase, and the pace of the step loop."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._begin = now()
        self._window_begin = 0.0
        self._last_step = 0.0
        self._aside = {"evaluate": 0.0, "checkpoint": 0.0}
        self.recent_step_seconds: float | None = None

    def begin(self) -> None:
        """What came before this was preparation; comes before everything below."""
        self._begin = self._now()

    @contextmanager
    def aside(self, phase: str) -> Iterator[None]:
        """Counts what happens inside as `phase`, not as training."""
        begin = self._now()
        yield
        self._aside[phase] += self._now() - begin

    def step(self) -> float:
        """A step has ended; returns the running mean of the step time."""
        training = self._training()
        seconds, self._last_step = training - self._last_step, training
        before = self.recent_step_seconds
        self.recent_step_seconds = seconds if before is None else before + _RECENT * (seconds - before)
        return self.recent_step_seconds

    def window_seconds(self) -> float:
        """Training time since the last call."""
        training = self._training()
        seconds, self._window_begin = training - self._window_begin, training
        return seconds

    def totals(self) -> dict[str, float]:
        """Seconds of train, evaluate and checkpoint."""
        return {"train": self._training(), **self._aside}

    def _training(self) -> float:
        return self._now() - self._begin - sum(self._aside.values())


def diverged(what: str, *, step: int) -> AppError:
    """DIVERGED, at `step` counted from 1."""
    return AppError(
        ErrorCode.DIVERGED,
        f"The {what} was not finite in step {step}. Lower the learning rate, warm up longer, or clip gradients.",
        facts={"step": step},
    )


def _floats(values: Tensor) -> list[float]:
    rows: list[object] = values.double().tolist()
    return [row for row in rows if isinstance(row, float)]
