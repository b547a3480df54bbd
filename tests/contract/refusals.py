"""How a contract says no: with an AppError, known by its code."""

from collections.abc import Callable

import pytest

from model_trainer.core.errors import AppError, ErrorCode


def expect(code: ErrorCode) -> "pytest.RaisesExc[AppError]":
    """Passes when the block is refused with just this code."""
    return pytest.raises(AppError, check=lambda error: error.code is code)


def conflict(about: str) -> "pytest.RaisesExc[AppError]":
    """Passes when the block is refused as a conflict that says so much."""
    return pytest.raises(
        AppError, check=lambda error: error.code is ErrorCode.CONFLICT and about in error.message
    )


def code_of(action: Callable[[], object]) -> ErrorCode:
    """The code that it is refused with."""
    with pytest.raises(AppError) as caught:
        action()
    return caught.value.code
