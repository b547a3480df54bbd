import pytest

from model_trainer.core.contracts.detector import Reading
from model_trainer.serving.reading import normalised, read_text


def test_a_text_is_read_as_it_is_when_nothing_is_asked_for() -> None:
    text = "a\u200b  \u0430\n"
    assert read_text(text, Reading(collapse_whitespace=False, normalise_unicode=False)) == text


def test_runs_of_whitespace_become_one_space() -> None:
    reading = Reading(collapse_whitespace=True, normalise_unicode=False)
    assert read_text(" one\n\n two\t three ", reading) == "one two three"


def test_invisible_characters_go_before_whitespace_is_collapsed() -> None:
    reading = Reading(collapse_whitespace=True, normalise_unicode=True)
    assert read_text("one \u200b two", reading) == "one two"


@pytest.mark.parametrize(
    ("attacked", "plain"),
    [
        ("th\u0435 c\u0430t s\u0430t \u043en \u0430 m\u0430t", "the cat sat on a mat"),
        ("\u03bfmicr\u03bfn", "omicron"),
        ("\u0585ne", "one"),
        ("\uff21\uff42\uff11", "Ab1"),
        ("\U0001d41a\U0001d7d8 \u2163 \u24d0 \ufb01n", "a0 IV a fin"),
        ("one\u00a0two\u2003three", "one two three"),
        ("he\u200bl\u2060lo\ufeff so\u00adft \U000e0061x", "hello soft x"),
        ("wo\u200drd\u200c", "word"),
        ("\u0251nd \u0261o", "and go"),
    ],
)
def test_what_attacks_put_into_a_text_is_undone(attacked: str, plain: str) -> None:
    assert normalised(attacked) == plain


@pytest.mark.parametrize(
    "text",
    [
        "only ASCII",
        "plain words, caf\u00e9 and na\u00efve too \u2014 \u201cquoted\u201d \u4f60\u597d \U0001f600",
        "\u041c\u044b \u0441\u043c\u043e\u0442\u0440\u0435\u043b\u0438 \u0444\u0438\u043b\u044c\u043c",
        "\u03ba\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u03c6\u03af\u03bb\u03b5 \u03bc\u03bf\u03c5",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    ],
)
def test_what_writers_need_is_left_alone(text: str) -> None:
    assert normalised(text) == text


def test_a_russian_text_that_quotes_a_word_keeps_its_letters() -> None:
    text = "\u0412\u0447\u0435\u0440\u0430 \u043c\u044b \u0447\u0438\u0442\u0430\u043b\u0438 Time"
    assert normalised(text) == text


def test_a_quoted_word_of_another_script_keeps_its_letters() -> None:
    text = "so \u0430 Greek says \u03bb\u03cc\u03b3\u03bf\u03c2 here"
    assert normalised(text) == text.replace("\u0430", "a")
