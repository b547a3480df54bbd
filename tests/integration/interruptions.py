"""What can come between a training and its end, at a moment that a test chooses."""

from collections.abc import Callable

from torch import Tensor, nn

from model_trainer.core.failpoints import Failpoint


class AtForward:
    """Does something before the nth forward pass of training, once."""

    def __init__(self, nth: int, act: Callable[[nn.Module], None]) -> None:
        self._left = nth
        self._act = act

    def __call__(self, model: nn.Module, tokens_BT: Tensor) -> None:
        if model.training:
            self._left -= 1
            if self._left == 0:
                self._act(model)


class Fails:
    """Raises at one moment, the first time it comes."""

    def __init__(self, point: Failpoint, error: Exception) -> None:
        self._point = point
        self._error: Exception | None = error

    def __call__(self, point: Failpoint) -> None:
        if point is self._point and self._error is not None:
            error, self._error = self._error, None
            raise error


def raise_defect(_: nn.Module) -> None:
    """As a mistake in a network would."""
    raise ValueError("a defect in the network")
