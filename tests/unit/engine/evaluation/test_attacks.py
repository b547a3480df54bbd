import pytest

from model_trainer.engine.evaluation.attacks import (
    ATTACKS,
    case,
    homoglyphs,
    misspelling,
    whitespace,
    zero_width,
)
from model_trainer.serving.reading import normalised

TEXT = "Because the people of this country write THEIR own letters, every year. " * 40


def test_the_attacks_have_the_names_that_reports_show() -> None:
    assert list(ATTACKS) == ["homoglyphs", "zero_width", "whitespace", "case", "misspelling"]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_changes_a_text_and_does_so_the_same_way_again(name: str) -> None:
    attacked = ATTACKS[name](TEXT, 1)
    assert attacked != TEXT
    assert ATTACKS[name](TEXT, 1) == attacked


@pytest.mark.parametrize("attack", [whitespace, case, misspelling])
def test_the_seed_and_the_text_decide_where_it_strikes(attack: type) -> None:
    assert attack(TEXT, 1) != attack(TEXT, 2)
    assert attack(TEXT, 1)[: len(TEXT) // 2] != attack(TEXT + "!", 1)[: len(TEXT) // 2]


@pytest.mark.parametrize("attack", [homoglyphs, zero_width])
def test_what_cannot_be_seen_is_undone_by_the_normaliser(attack: type) -> None:
    text = "AaBbCcEeHhIiJjKkMmOoPpSsTtXxYyZz, and other letters of the alphabet."
    assert attack(text, 0) != text
    assert normalised(attack(text, 0)) == text


def test_look_alikes_keep_the_length_and_leave_other_letters() -> None:
    assert homoglyphs("face dust", 0) == "f\u0430\u0441\u0435 du\u0455t"


def test_invisible_spaces_stand_between_all_characters() -> None:
    assert zero_width("a b", 0) == "a\u200b \u200bb"


def test_about_a_fifth_of_the_spaces_is_doubled_and_nothing_else_changes() -> None:
    attacked = whitespace(TEXT, 3)
    assert attacked.replace("  ", " ") == TEXT
    assert 0.1 < attacked.count("  ") / TEXT.count(" ") < 0.3


def test_about_one_letter_in_twenty_changes_its_case_and_nothing_else_changes() -> None:
    attacked = case(TEXT, 3)
    assert attacked.lower() == TEXT.lower()
    changed = sum(before != after for before, after in zip(TEXT, attacked, strict=True))
    assert 0.03 < changed / sum(letter.isalpha() for letter in TEXT) < 0.07


def test_about_half_of_the_known_words_is_misspelt_and_keeps_its_capital() -> None:
    attacked = misspelling("The the Xylophone " * 200, 3).split()
    assert set(attacked) == {"The", "Teh", "the", "teh", "Xylophone"}
    assert 0.4 < attacked.count("teh") / 200 < 0.6
    assert 0.4 < attacked.count("Teh") / 200 < 0.6
