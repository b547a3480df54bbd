"""Somebody who watches a training: keeps its rows, and stops or crashes it on request."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_trainer.core.contracts.run import Progress
from model_trainer.engine.protocols import StopReason


class Crashed(Exception):
    """What ends a run without a word."""


class Witness:
    """Keeps the rows; stops or crashes after some steps if told to."""

    def __init__(self, stop_after: int | None = None, reason: StopReason | None = StopReason.CANCEL) -> None:
        """Without a `reason` it crashes."""
        self.stop_after = stop_after
        self.reason = reason
        self.steps = 0
        self.last_metrics: dict[str, float] = {}
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.num_parameters = 0
        self.resumed_at = 0

    def stop_requested(self) -> StopReason | None:
        if self.steps != self.stop_after:
            return None
        if self.reason is None:
            self.stop_after = None
            raise Crashed
        return self.reason

    def configured(self, *, total_steps: int, num_parameters: int, tokens_per_step: int) -> None:
        self.num_parameters = num_parameters

    def resumed(self, *, step: int) -> None:
        self.resumed_at = step

    def stepped(self, progress: Progress) -> None:
        self.steps = progress.step

    def logged(self, *, step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
        self.rows.append((step, dict(metrics)))

    def rows_must_last(self) -> None:
        pass

    def checkpoint_saved(self, *, step: int, path: Path, num_bytes: int, metrics: dict[str, float]) -> None:
        assert num_bytes > 0

    def checkpoint_rejected(self, *, path: Path, why: str) -> None:
        pytest.fail(why)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
