import threading

import pytest
import torch

from model_trainer.engine.data.batches import WindowBatches, window_batch
from model_trainer.engine.data.order import ShuffledWindows

TOKENS = torch.arange(500).to(torch.uint16)
ORDER = ShuffledWindows(num_tokens=500, window=10, rows=6, seed=3)


def _batches(workers: int, *, micro_batches: int = 2) -> WindowBatches:
    return WindowBatches(
        TOKENS,
        ORDER,
        window=10,
        batch_size=6 // micro_batches,
        micro_batches=micro_batches,
        workers=workers,
        page_locked=False,
    )


def test_a_window_batch_is_widened_to_int64() -> None:
    batch_BS = window_batch(TOKENS, [3, 100], length=4)
    assert batch_BS.dtype == torch.int64
    assert batch_BS.tolist() == [[3, 4, 5, 6], [100, 101, 102, 103]]


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_change_nothing_in_the_order(workers: int) -> None:
    alone, ahead = _batches(0), _batches(workers)
    try:
        for number in range(40):
            assert torch.equal(alone.take(number), ahead.take(number))
    finally:
        ahead.close()


class CountingOrder:
    """Counts how often each step is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    @property
    def steps_per_epoch(self) -> float:
        return ORDER.steps_per_epoch

    def starts(self, step: int, rows: range) -> list[int]:
        self.asked.append(step)
        return ORDER.starts(step, rows)

    def restarts(self, step: int) -> bool:
        return ORDER.restarts(step)


def test_each_batch_is_gathered_once_and_before_it_is_wanted() -> None:
    order = CountingOrder()
    ahead = WindowBatches(
        TOKENS, order, window=10, batch_size=6, micro_batches=1, workers=2, page_locked=False
    )
    for number in range(10):
        ahead.take(number)
    ahead.close()
    assert len(order.asked) == len(set(order.asked))
    assert set(range(10)) <= set(order.asked) <= set(range(14))


def test_batches_can_be_taken_from_the_middle_and_again() -> None:
    alone, ahead = _batches(0), _batches(2)
    for number in (17, 18, 3, 3, 40):
        assert torch.equal(alone.take(number), ahead.take(number))
    ahead.close()


def test_micro_batches_are_numbered_step_by_step() -> None:
    whole, halves = _batches(0, micro_batches=1), _batches(0, micro_batches=2)
    step_3 = torch.cat([halves.take(6), halves.take(7)])
    assert torch.equal(step_3, whole.take(3))
    assert step_3[:, 0].tolist() == ORDER.starts(3, range(6))


def test_closing_ends_the_threads() -> None:
    ahead = _batches(2)
    ahead.take(0)
    before = {thread for thread in threading.enumerate() if thread.name.startswith("batches")}
    ahead.close()
    assert not any(thread.is_alive() for thread in before)
    _batches(0).close()
