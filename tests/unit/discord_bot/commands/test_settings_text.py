"""Settings in one line: commas part them, but not inside brackets and quotes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.commands.settings_text import (
    LONGEST,
    cut_at_commas,
    read_settings,
    split_settings,
)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        (" , ,", []),
        ("dropout=0.1", [("dropout", "0.1")]),
        (" a = 1 ,b=2,", [("a", "1"), ("b", "2")]),
        ("a=[1, 2], b={c: 3, d: (4, 5)}", [("a", "[1, 2]"), ("b", "{c: 3, d: (4, 5)}")]),
        ("a='x, y', b=\"z, [\"", [("a", "'x, y'"), ("b", '"z, ["')]),
        ("a=['x]', 2], b=3", [("a", "['x]', 2]"), ("b", "3")]),
        ("note=it's fine, seed=3", [("note", "it's fine"), ("seed", "3")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=[(1]], b=2", [("a", "[(1]], b=2")]),
        ("a=], b=1", [("a", "]"), ("b", "1")]),
    ],
)
def test_names_and_values_are_parted(text: str, pairs: list[tuple[str, str]]) -> None:
    assert read_settings(text) == pairs


@pytest.mark.parametrize("text", ["dropout", "=3", "a=1, b", "a=", "a= ,b=1", "a=1 b=2, c"])
def test_what_is_no_such_line_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(AppError) as caught:
        read_settings(text)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == ["/settings"]
    assert "key=value, key=value" in caught.value.faults[0].message


def test_a_line_has_an_end() -> None:
    assert read_settings("a=" + "x" * (LONGEST - 2))
    with pytest.raises(AppError, match="at most 1,000 characters"):
        read_settings("a=" + "x" * (LONGEST - 1))


def test_the_last_part_is_what_is_being_typed() -> None:
    assert cut_at_commas("a=1, dro") == ["a=1", " dro"]
    assert cut_at_commas("a=1,") == ["a=1", ""]
    assert cut_at_commas("a=[1,") == ["a=[1,"]


@given(st.text(max_size=200))
def test_nothing_is_lost_whatever_is_typed(text: str) -> None:
    assert ",".join(cut_at_commas(text)) == text


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_.]{0,9}", fullmatch=True),
        st.integers() | st.floats(allow_nan=False) | st.lists(st.integers(), max_size=3) | st.booleans(),
        max_size=6,
    )
)
def test_what_is_written_in_the_form_is_read_back(settings: dict[str, object]) -> None:
    text = ", ".join(f"{name}={value}" for name, value in settings.items())
    assert read_settings(text) == [(name, str(value)) for name, value in settings.items()]
    assert len(split_settings(text)) == len(settings)
