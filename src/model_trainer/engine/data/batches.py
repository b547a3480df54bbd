"""Micro-batches of windows, gathered ahead of the model by threads. The order is the order's, whoever gathers.

Shapes: B windows of a micro-batch, S tokens of a window and the one after it.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from model_trainer.engine.data.order import DataOrder

_AHEAD_PER_WORKER = 2
"""One being gathered and one waiting for the model."""


def window_batch(tokens: Tensor, starts: list[int], *, length: int) -> Tensor:
    """The slices of `length` tokens that begin at `starts`, as int64 [B, S]."""
    return torch.stack([tokens[start : start + length] for start in starts]).to(torch.int64)


class WindowBatches:
    """Micro-batches by number: micro-batch m of step s is number s * micro_batches + m."""

    def __init__(
        self,
        tokens: Tensor,
        order: DataOrder,
        *,
        window: int,
        batch_size: int,
        micro_batches: int,
        workers: int,
        page_locked: bool,
    ) -> None:
        self._tokens = tokens
        self._order = order
        self._length = window + 1
        self._batch_size = batch_size
        self._micro_batches = micro_batches
        self._page_locked = page_locked
        self._ahead = workers * _AHEAD_PER_WORKER
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches") if workers else None
        self._waiting: dict[int, Future[Tensor]] = {}

    def take(self, number: int) -> Tensor:
        """Micro-batch `number` as int64 [B, S]; the ones after it are gathered meanwhile."""
        if self._pool is None:
            return self._gather(number)
        wanted = range(number, number + self._ahead + 1)
        self._waiting = {
            later: self._waiting.get(later) or self._pool.submit(self._gather, later) for later in wanted
        }
        return self._waiting.pop(number).result()

    def close(self) -> None:
        """Ends the threads; what they had gathered ahead is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _gather(self, number: int) -> Tensor:
        step, micro_step = divmod(number, self._micro_batches)
        first = micro_step * self._batch_size
        starts = self._order.starts(step, range(first, first + self._batch_size))
        batch_BS = window_batch(self._tokens, starts, length=self._length)
        if self._page_locked:  # pragma: no cover - page-locked memory needs CUDA
            return batch_BS.pin_memory()
        return batch_BS
