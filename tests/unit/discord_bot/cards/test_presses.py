"""What buttons carry comes back as it was, and nothing else is taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_trainer.discord_bot.cards.presses import VERBS, Ask, Do, Drop, Look, Press, TurnTo, read, written

RUN_ID = "01K80E86W700RWVAGDAT4WD2W3"  # names of tests hold it, so it is the same in each process
ALL: list[Press] = [
    *(Ask(verb, RUN_ID) for verb in VERBS),
    *(Do(verb, RUN_ID) for verb in VERBS),
    Drop(),
    TurnTo(0),
    TurnTo(9999),
    Look(RUN_ID),
]


@pytest.mark.parametrize("press", ALL, ids=str)
def test_what_is_written_is_read_back_and_fits_a_button(press: Press) -> None:
    assert read(written(press)) == press
    assert len(written(press)) <= 100


def test_the_words_on_buttons_that_are_out_there_stay_the_same() -> None:
    assert [written(press) for press in ALL] == [
        f"ask:cancel:{RUN_ID}",
        f"ask:pause:{RUN_ID}",
        f"ask:resume:{RUN_ID}",
        f"do:cancel:{RUN_ID}",
        f"do:pause:{RUN_ID}",
        f"do:resume:{RUN_ID}",
        "drop",
        "runs:0",
        "runs:9999",
        f"status:{RUN_ID}",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "drop:",
        "drop:now",
        "do",
        "do:cancel",
        "do:cancel:",
        "do:cancel:x",
        f"do:delete:{RUN_ID}",
        f"DO:cancel:{RUN_ID}",
        f"done:cancel:{RUN_ID}",
        f"do:cancel:{RUN_ID}:",
        f"do:cancel:{RUN_ID}\n",
        f"ask:{RUN_ID}",
        "runs:",
        "runs:-1",
        "runs:10000",
        "runs:1.5",
        "runs:\u0661",
        "status:",
        f"status:{RUN_ID.lower()}",
        f"status:{RUN_ID}0",
    ],
)
def test_a_press_that_is_none_of_ours_is_nothing(text: str) -> None:
    assert read(text) is None


@given(st.text(max_size=40) | st.from_regex(r"(ask|do|runs|status|drop):[a-z0-9:]{0,40}", fullmatch=True))
def test_whatever_a_button_carries_is_read_without_a_fault(text: str) -> None:
    press = read(text)
    assert press is None or read(written(press)) == press
