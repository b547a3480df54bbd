import math
from collections import Counter
from itertools import pairwise

import pytest

from model_trainer.engine.data.order import DataOrder, ParallelStreams, ShuffledWindows
from model_trainer.engine.data.permutation import mixed, permuted


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 17, 97, 1000])
def test_a_permutation_reaches_every_index_once(size: int) -> None:
    assert sorted(permuted(index, size=size, key=9) for index in range(size)) == list(range(size))


def test_a_permutation_needs_no_table_for_a_huge_range() -> None:
    size = 10**12
    landed = {permuted(index, size=size, key=1) for index in range(1000)}
    assert len(landed) == 1000
    assert all(0 <= place < size for place in landed)
    assert max(landed) > size // 2 > min(landed)


def test_permutations_of_many_keys_put_every_index_everywhere_equally_often() -> None:
    size, num_keys = 10, 4000
    landed = Counter(
        (index, permuted(index, size=size, key=key)) for key in range(num_keys) for index in range(size)
    )
    # Binomial with p = 1/10: five standard deviations each way for 100 cells.
    deviation = 5 * math.sqrt(num_keys * 0.1 * 0.9)
    assert len(landed) == size * size
    assert all(abs(count - num_keys / size) < deviation for count in landed.values())


def test_neighbours_do_not_stay_neighbours() -> None:
    size = 10_000
    order = [permuted(index, size=size, key=3) for index in range(size)]
    still = sum(abs(first - second) == 1 for first, second in pairwise(order))
    assert still < 12  # two are expected of a random order


def test_mixing_depends_on_every_number_and_on_their_order() -> None:
    assert len({mixed(1, 2), mixed(2, 1), mixed(1, 3), mixed(1), mixed(1, 2, 0)}) == 5
    assert all(0 <= mixed(number) < 2**64 for number in (0, 1, 2**63))


def _epoch(order: ShuffledWindows, epoch: int) -> list[int]:
    count = order.windows_per_epoch
    first = epoch * count
    return [
        order.starts(draw // order.rows, range(order.rows))[draw % order.rows]
        for draw in range(first, first + count)
    ]


def test_shuffled_windows_show_every_window_once_an_epoch_without_overlap() -> None:
    order = ShuffledWindows(num_tokens=1003, window=10, rows=4, seed=5)
    assert order.windows_per_epoch == 99
    for epoch in (0, 1, 2):
        starts = _epoch(order, epoch)
        offset = min(starts)
        assert sorted(starts) == [offset + 10 * index for index in range(99)]
        assert max(starts) + 10 + 1 <= 1003


def test_each_epoch_has_its_own_order_and_offset() -> None:
    order = ShuffledWindows(num_tokens=1003, window=10, rows=4, seed=5)
    epochs = [_epoch(order, epoch) for epoch in range(12)]
    assert len({tuple(epoch) for epoch in epochs}) == 12
    assert len({min(epoch) for epoch in epochs}) > 3
    assert epochs[0] != sorted(epochs[0])


def test_another_seed_gives_another_order() -> None:
    first = ShuffledWindows(num_tokens=1003, window=10, rows=4, seed=5)
    assert _epoch(first, 0) == _epoch(ShuffledWindows(num_tokens=1003, window=10, rows=4, seed=5), 0)
    assert _epoch(first, 0) != _epoch(ShuffledWindows(num_tokens=1003, window=10, rows=4, seed=6), 0)


@pytest.mark.parametrize("num_tokens", [11, 12, 19, 20, 21, 29, 30, 31])
@pytest.mark.parametrize("kind", [ShuffledWindows, ParallelStreams])
def test_no_window_reaches_past_the_end_of_a_tiny_text(
    kind: type[ShuffledWindows] | type[ParallelStreams], num_tokens: int
) -> None:
    order: DataOrder = kind(num_tokens=num_tokens, window=10, rows=3, seed=0)
    starts = [start for step in range(50) for start in order.starts(step, range(3))]
    assert min(starts) >= 0
    assert max(starts) + 11 <= num_tokens
    assert max(starts) == num_tokens - 11, "the end of the text is seen sooner or later"


def test_a_step_may_end_one_epoch_and_begin_the_next() -> None:
    order = ShuffledWindows(num_tokens=60, window=10, rows=4, seed=5)
    assert order.windows_per_epoch == 5
    assert order.steps_per_epoch == 1.25
    assert order.starts(1, range(4))[1:] == _epoch(order, 1)[:3]


def test_micro_batches_share_the_rows_of_a_step() -> None:
    shuffled = ShuffledWindows(num_tokens=1003, window=10, rows=4, seed=5)
    streams = ParallelStreams(num_tokens=1003, window=10, rows=4, seed=5)
    for order in (shuffled, streams):
        assert order.starts(7, range(2)) + order.starts(7, range(2, 4)) == order.starts(7, range(4))


def test_parallel_streams_read_on_where_they_stopped() -> None:
    order = ParallelStreams(num_tokens=4 * 50 + 1, window=10, rows=4, seed=5)
    assert order.steps_per_epoch == 5.0
    assert order.starts(0, range(4)) == [0, 50, 100, 150]
    assert order.starts(1, range(4)) == [10, 60, 110, 160]
    assert order.starts(4, range(4)) == [40, 90, 140, 190]
    assert order.starts(5, range(4)) == order.starts(0, range(4))


def test_parallel_streams_start_cold_when_they_wrap_around_and_only_then() -> None:
    order = ParallelStreams(num_tokens=4 * 50 + 1, window=10, rows=4, seed=5)
    assert [step for step in range(12) if order.restarts(step)] == [0, 5, 10]


def test_parallel_streams_begin_elsewhere_each_epoch_when_tokens_are_left_over() -> None:
    order = ParallelStreams(num_tokens=4 * 57 + 1, window=10, rows=4, seed=5)
    begins = [order.starts(5 * epoch, range(1))[0] for epoch in range(100)]
    assert set(begins) == set(range(8))


def test_rows_overlap_only_when_there_is_less_than_a_window_for_each() -> None:
    order = ParallelStreams(num_tokens=21, window=10, rows=3, seed=5)
    assert order.windows_per_epoch == 1
    assert order.starts(0, range(3)) == [0, 5, 10]


def test_shuffled_windows_carry_nothing() -> None:
    assert ShuffledWindows(num_tokens=100, window=10, rows=1, seed=0).restarts(3)
