from dataclasses import replace

import pytest

from model_trainer.discord_bot.cards.card import (
    LONGEST_CARD,
    MOST_BUTTONS,
    MOST_FIELDS,
    NOTHING,
    Button,
    Card,
    Field,
    SafeText,
    Suggestion,
)
from model_trainer.discord_bot.cards.lengths import ELLIPSIS, length_of


def long(number: int) -> SafeText:
    return SafeText("x" * number)


def test_a_card_within_the_limits_stays_as_it_is() -> None:
    card = Card(title=SafeText("T"), text=long(4096), fields=(Field(long(256), long(1024)),), mark="m")

    assert (card.title, card.text, card.fields[0].name, card.fields[0].value, card.mark) == (
        "T",
        "x" * 4096,
        "x" * 256,
        "x" * 1024,
        "m",
    )


def test_every_text_is_cut_to_what_discord_takes() -> None:
    card = Card(title=long(9000), text=long(9000))
    field, button = Field(long(9000), long(9000)), Button(long(9000), "drop")

    assert [len(one) for one in (card.title, card.text)] == [256, 4096]
    assert [len(one) for one in (field.name, field.value, button.label)] == [256, 1024, 80]
    assert len(Suggestion(long(9000), "v").label) == 100
    assert len(Card(title=SafeText("T"), mark="m" * 9000).mark) == 2048
    assert all(one.endswith(ELLIPSIS) for one in (card.title, card.text, field.name, field.value))


def test_a_blank_text_that_discord_wants_is_a_dash() -> None:
    field = Field(SafeText(" "), SafeText(""))

    assert (Card(title=SafeText("")).title, field.name, field.value) == (NOTHING, NOTHING, NOTHING)
    assert Button(SafeText(""), "drop").label == NOTHING


def test_a_text_may_be_left_out() -> None:
    assert Card(title=SafeText("T")).text == ""


def test_there_are_at_most_25_fields() -> None:
    fields = tuple(Field(SafeText(f"{number}"), SafeText("v")) for number in range(30))

    assert Card(title=SafeText("T"), fields=fields).fields == fields[:MOST_FIELDS]


def test_all_texts_together_stay_within_6000_characters_and_the_first_fields_win() -> None:
    fields = tuple(Field(SafeText(f"{number:02}"), long(998)) for number in range(25))
    card = Card(title=long(100), text=long(2800), fields=fields, mark="m" * 100)

    assert card.fields == fields[:3]
    assert sum(map(length_of, (card.title, card.text, card.mark))) + 3 * 1000 == LONGEST_CARD


def test_a_long_mark_leaves_less_room_for_the_text() -> None:
    card = Card(title=long(256), text=long(4096), mark="m" * 2048)

    assert len(card.text) == LONGEST_CARD - 256 - 2048


def test_emoji_count_twice() -> None:
    card = Card(title=SafeText("\U0001f44d" * 300))

    assert length_of(card.title) == 255
    assert len(card.title) == 128


def test_a_press_stands_there_once_and_fits() -> None:
    label = SafeText("b")
    buttons = tuple(Button(label, press) for press in ("a", "b" * 100, "a", "c" * 101, "", "d"))

    assert Card(title=label, buttons=buttons).buttons == (buttons[0], buttons[1], buttons[5])


def test_there_are_at_most_five_rows_of_five_buttons() -> None:
    buttons = tuple(Button(SafeText("b"), f"runs:{number}") for number in range(30))

    assert Card(title=SafeText("T"), buttons=buttons).buttons == buttons[:MOST_BUTTONS]


@pytest.mark.parametrize("limit", [1, 2])
def test_a_card_made_from_another_fits_too(limit: int) -> None:
    assert len(replace(Card(title=SafeText("T")), text=long(5000 * limit)).text) == 4096
