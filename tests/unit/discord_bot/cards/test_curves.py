import math
import random
import struct
from collections.abc import Callable

import pytest

from model_trainer.client.views import SeriesRowView
from model_trainer.discord_bot.cards.curves import MOST_POINTS, loss_curve, thinned

RUN = "01JCB4Y1Q5W9D2ZK7N3M8XV6HT"


def row(step: int, **metrics: float) -> SeriesRowView:
    return SeriesRowView(step=step, metrics=metrics)


def falling(last: int, *, every: int = 1) -> list[SeriesRowView]:
    return [row(step, loss=2 + math.exp(-step / 50)) for step in range(1, last + 1, every)]


def picture(rows: list[SeriesRowView], *, family: str = "", run_id: str = "") -> bytes:
    png = loss_curve(rows, family=family, run_id=run_id)
    assert png is not None
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return png


def test_a_curve_is_a_picture_of_900_by_450() -> None:
    assert struct.unpack(">II", picture(falling(100))[16:24]) == (900, 450)


@pytest.mark.parametrize(
    "rows", [[], [row(1)], [row(1, loss=2.0)], [row(1, accuracy=1.0), row(2, accuracy=1.0)]]
)
def test_without_a_line_there_is_no_picture(rows: list[SeriesRowView]) -> None:
    assert loss_curve(rows) is None


def test_numbers_that_cannot_be_drawn_are_left_out() -> None:
    odd = [
        row(3, loss=math.nan),
        row(4, loss=math.inf),
        row(5, loss=1e300),
        row(-1, loss=1.0),
        row(10**400, loss=1.0),
    ]

    assert picture([*falling(2), *odd]) == picture(falling(2))
    assert loss_curve([*falling(1), *odd]) is None


def test_of_a_step_taken_twice_the_later_row_is_drawn() -> None:
    assert picture([row(2, loss=9.0), *falling(5)]) == picture(falling(5))


def test_rows_may_come_in_any_order() -> None:
    assert picture(falling(9)[::-1]) == picture(falling(9))


@pytest.mark.parametrize(
    "other",
    [
        lambda rows: [*rows, row(10, validation_loss=2.5)],
        lambda rows: [*rows, row(10, validation_loss=2.5), row(90, validation_loss=2.2)],
        lambda rows: [
            one.model_copy(update={"metrics": {"validation_loss": one.metrics["loss"]}}) for one in rows
        ],
        lambda rows: [*rows, row(1, loss=900.0)],
        lambda rows: rows[::20],
    ],
    ids=["one validation", "validation", "validation alone", "a long way down", "few points"],
)
def test_what_is_drawn_is_seen(other: Callable[[list[SeriesRowView]], list[SeriesRowView]]) -> None:
    assert picture(other(falling(100))) != picture(falling(100))


def test_a_loss_below_zero_can_be_drawn() -> None:
    assert picture([row(1, loss=100.0), row(2, loss=-1.0)])


def test_the_title_says_family_and_run() -> None:
    plain, named = picture(falling(9)), picture(falling(9), family="gpt2", run_id=RUN)

    assert plain != named != picture(falling(9), family="gpt2")
    assert picture(falling(9), family="$\\frac{1}{0}$ /etc/passwd", run_id="secret.txt") == plain


def test_the_same_rows_are_the_same_bytes() -> None:
    assert picture(falling(50), family="gpt2") == picture(falling(50), family="gpt2")


def test_a_picture_stays_small_however_many_rows_there_are() -> None:
    source = random.Random(1)
    rows = [
        row(step, loss=source.uniform(1, 100), validation_loss=source.uniform(1, 100))
        for step in range(50_000)
    ]

    assert len(picture(rows)) < 200_000


def test_few_points_are_all_kept() -> None:
    points = [(step, float(step)) for step in range(MOST_POINTS)]

    assert thinned(points) == tuple(points)


@pytest.mark.parametrize("number", [MOST_POINTS + 1, 1999, 100_000])
def test_of_many_points_extremes_and_ends_are_kept(number: int) -> None:
    source = random.Random(number)
    points = [(step, source.uniform(1.0, 2.0)) for step in range(number)]
    points[number // 3], points[number // 2] = (number // 3, 9.0), (number // 2, 0.1)

    kept = thinned(points)

    assert len(kept) <= MOST_POINTS
    assert set(kept) >= {points[0], points[number // 3], points[number // 2], points[-1]}
    assert list(kept) == sorted(kept)
