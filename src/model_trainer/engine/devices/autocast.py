"""torch's autocast as the context manager that the Device contract promises."""

from contextlib import AbstractContextManager
from types import TracebackType

import torch

from model_trainer.core.contracts.training import DeviceName


class Autocast(AbstractContextManager[None]):
    """Matrix products inside the with-block are computed in `dtype`."""

    def __init__(self, device: DeviceName, dtype: torch.dtype) -> None:
        self._autocast: AbstractContextManager[object] = torch.autocast(device, dtype)

    def __enter__(self) -> None:
        self._autocast.__enter__()

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._autocast.__exit__(error_type, error, traceback)
