import pytest

from model_trainer.discord_bot.cards.lengths import ELLIPSIS, length_of, shortened

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
THUMB = "\U0001f44d\U0001f3fd"
FLAG = "\U0001f1e9\U0001f1ea"


def test_characters_outside_the_basic_plane_count_as_two() -> None:
    assert [length_of(text) for text in ("", "abc", "\u00e9", "\U0001f44d", THUMB)] == [0, 3, 1, 2, 4]


def test_a_text_within_the_limit_stays_as_it_is() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("\U0001f44d", 2) == "\U0001f44d"


def test_a_longer_text_ends_in_an_ellipsis_and_within_the_limit() -> None:
    assert shortened("abcdef", 4) == "abc" + ELLIPSIS
    assert shortened("\U0001f44d" * 10, 5) == "\U0001f44d" * 2 + ELLIPSIS
    assert shortened("\U0001f44d" * 10, 4) == "\U0001f44d" + ELLIPSIS


def test_no_space_stands_before_the_ellipsis() -> None:
    assert shortened("abc defg", 5) == "abc" + ELLIPSIS


@pytest.mark.parametrize("limit", [0, -5])
def test_without_room_there_is_no_text(limit: int) -> None:
    assert shortened("abc", limit) == ""


def test_an_ellipsis_alone_is_left_where_there_is_room_for_nothing_else() -> None:
    assert shortened("abc", 1) == ELLIPSIS


@pytest.mark.parametrize("character", ["e\u0301\u0323", FAMILY, THUMB, FLAG])
def test_no_character_is_cut_in_half(character: str) -> None:
    # b is what a cut inside the second character must not leave behind
    for limit in range(2 + length_of(character), 2 + 2 * length_of(character)):
        assert shortened("a" + character + character + "tail", limit) == "a" + character + ELLIPSIS


def test_a_second_flag_begins_a_character_of_its_own() -> None:
    assert shortened(FLAG * 4, 9) == FLAG * 2 + ELLIPSIS


def test_a_pile_of_marks_is_cut_somewhere() -> None:
    assert length_of(shortened("a" + "\u0301" * 500, 300)) == 300


def test_ten_million_characters_are_cut_at_once() -> None:
    assert shortened("\U0001f44d" * 10_000_000, 256) == "\U0001f44d" * 127 + ELLIPSIS
