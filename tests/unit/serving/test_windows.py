import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_trainer.core.contracts.detector import WindowPlan
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.serving.windows import padded, plan_windows, stretches, window_of


def plan(length: int = 6, stride: int | None = None) -> WindowPlan:
    return plan_windows(length=length, stride=stride, prefix=(101,), suffix=(102,), pad_id=9)


def test_a_text_that_fits_is_one_window() -> None:
    assert stretches(4, plan()) == [range(4)]


def test_a_text_without_tokens_is_one_empty_window() -> None:
    assert stretches(0, plan()) == [range(0)]


def test_stretches_lie_side_by_side_when_no_stride_is_asked_for() -> None:
    assert stretches(8, plan()) == [range(4), range(4, 8)]


def test_the_last_stretch_ends_where_the_text_ends() -> None:
    assert stretches(9, plan()) == [range(4), range(4, 8), range(5, 9)]


def test_a_stride_makes_stretches_overlap() -> None:
    assert stretches(8, plan(stride=2)) == [range(4), range(2, 6), range(4, 8)]


@given(st.integers(0, 60), st.integers(3, 12), st.integers(1, 10))
def test_every_token_is_read_and_all_windows_of_a_long_text_are_full(
    num_tokens: int, length: int, stride: int
) -> None:
    cut = plan(length, min(stride, length - 2))
    windows = stretches(num_tokens, cut)
    assert {token for window in windows for token in window} == set(range(num_tokens))
    assert len(windows) == 1 or all(len(window) == cut.stretch for window in windows)


def test_a_window_has_what_the_encoder_expects_around_it() -> None:
    assert window_of([5, 6], plan()) == [101, 5, 6, 102]


def test_short_windows_are_filled_up_and_the_mask_says_so() -> None:
    ids, mask = padded([[1, 2, 3], [4]], plan())
    assert ids == [[1, 2, 3], [4, 9, 9]]
    assert mask == [[1, 1, 1], [1, 0, 0]]


def test_a_window_without_room_for_text_is_refused() -> None:
    with pytest.raises(AppError, match="at least 3") as caught:
        plan(2)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == ["/max_seq_len"]
    assert plan(3).stretch == 1


def test_a_stride_that_leaves_tokens_unread_is_refused() -> None:
    with pytest.raises(AppError, match="at most 4") as caught:
        plan(6, 5)
    assert [fault.pointer for fault in caught.value.faults] == ["/window_stride"]
    assert plan(6, 4).stride == 4
