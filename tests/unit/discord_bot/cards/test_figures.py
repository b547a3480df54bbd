import math

import pytest

from model_trainer.discord_bot.cards.card import NOTHING
from model_trainer.discord_bot.cards.figures import (
    BAR_BLOCKS,
    bar,
    clock,
    count,
    from_now,
    measure,
    percent,
    short_count,
    steps,
)

HUGE = 10**5000


def test_counts_have_commas() -> None:
    assert [count(number) for number in (0, 999, 1234, -1234567)] == ["0", "999", "1,234", "-1,234,567"]


def test_numbers_that_nobody_reads_are_not_written_out() -> None:
    assert count(HUGE) == count(-HUGE) == short_count(HUGE) == count(10**15) == "a great many"
    assert count(10**15 - 1) == "999,999,999,999,999"


def test_large_counts_are_short() -> None:
    numbers = (0, 999, 1000, 3_400_000, 124_439_808, 999_999, 1_500_000_000, 2 * 10**12)
    assert [short_count(number) for number in numbers] == [
        "0",
        "999",
        "1k",
        "3.4M",
        "124M",
        "999k",
        "1.5B",
        "2T",
    ]


def test_measures_have_the_figures_that_say_something() -> None:
    numbers = (0.0, 0.0123, 1.23456, 42.123, 999.94, 21500.4, 1e-7, -0.5, 1e20)
    assert [measure(number) for number in numbers] == [
        "0.0000",
        "0.0123",
        "1.235",
        "42.12",
        "999.9",
        "21,500",
        "1.00e-07",
        "-0.5000",
        "1.00e+20",
    ]


def test_what_is_no_number_is_said_to_be_none() -> None:
    assert [measure(number) for number in (math.nan, math.inf, -math.inf)] == [
        "not a number",
        "infinite",
        "infinite",
    ]


@pytest.mark.parametrize(
    ("fraction", "said"),
    [
        (0.0, "0 %"),
        (0.425, "42 %"),
        (0.999, "99 %"),
        (1.0, "100 %"),
        (7.0, "100 %"),
        (-1.0, "0 %"),
        (math.nan, "0 %"),
    ],
)
def test_all_is_done_only_at_the_end(fraction: float, said: str) -> None:
    assert percent(fraction) == said


@pytest.mark.parametrize(
    ("fraction", "full"), [(0.0, 0), (0.5, 6), (0.999, 11), (1.0, 12), (9.0, 12), (-9.0, 0), (math.inf, 0)]
)
def test_a_bar_has_as_many_full_blocks_as_is_done(fraction: float, full: int) -> None:
    assert bar(fraction) == "\u2588" * full + "\u2591" * (BAR_BLOCKS - full)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0:00"),
        (65, "1:05"),
        (7384, "2:03:04"),
        (86_400 * 5 + 7384, "5 d 2:03:04"),
        (-1, NOTHING),
        (1e300, NOTHING),
        (math.nan, NOTHING),
    ],
)
def test_times_are_clocks(seconds: float, said: str) -> None:
    assert clock(seconds) == said


def test_moments_are_counted_by_discord() -> None:
    assert from_now(1_700_000_000_499) == "<t:1700000000:R>"


@pytest.mark.parametrize("at_ms", [0, -5, math.nan, math.inf, 1e300])
def test_moments_that_discord_cannot_show_are_left_out(at_ms: float) -> None:
    assert from_now(at_ms) == NOTHING


def test_steps_are_of_a_total_where_there_is_one() -> None:
    assert steps(410, 1200) == "410 of 1,200"
    assert steps(410, 0) == "410"
