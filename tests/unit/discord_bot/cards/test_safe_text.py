import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_trainer.discord_bot.cards.card import SafeText
from model_trainer.discord_bot.cards.lengths import ELLIPSIS, length_of
from model_trainer.discord_bot.cards.safe_text import (
    HIDDEN,
    LONGEST_NAME,
    clip,
    joined,
    name,
    run_id,
    say,
    word,
)

RUN = "01JCB4Y1Q5W9D2ZK7N3M8XV6HT"
ACTS = re.compile(r"[*~`|<>@#\[\]\\/]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[-+](?=\s|$)|^[0-9]+\.(?=\s|$)")


def said(value: object) -> str:
    return say("{value}", value=value)


@pytest.mark.parametrize(
    "value",
    [
        "@everyone",
        "@here",
        "<@80351110224678912>",
        "<@!80351110224678912>",
        "<#103735883630395392>",
        "<@&165511591545143296>",
        "</train:816437322781949972>",
        "<t:1618953630:R>",
        "<:mmLol:216154654256398347>",
        "<a:b1nzy:392938283556143104>",
        "<id:customize>",
        "**bold** *it* _it_ __under__ ~~gone~~ ||spoiler|| `code`",
        "```py\ncode\n```",
        "> quote",
        ">>> quote",
        "# heading",
        "-# small print",
        "- item",
        "+ item",
        "* item",
        "1. item",
        "[masked](https://example.com)",
        "https://example.com",
        "\\*",
    ],
)
def test_nothing_in_a_value_acts(value: str) -> None:
    assert not ACTS.search(said(value))
    assert said(value)


def test_a_value_is_read_as_it_was_written() -> None:
    assert said(
        "my_run_1 (2nd try): 50% better, isn't it? caf\u00e9 \u0645\u0631\u062d\u0628\u0627 \u4f60\u597d -1.5 a-b"
    ) == (
        "my_run_1 (2nd try): 50% better, isn't it? caf\u00e9 \u0645\u0631\u062d\u0628\u0627 \u4f60\u597d -1.5 a-b"
    )


def test_two_underscores_in_a_row_do_not_underline() -> None:
    assert "__" not in said("a__b__c")


def test_a_template_acts_and_is_not_looked_at() -> None:
    assert say("**{what}** <t:{at}:R>", what="a*b", at=12) == "**a\u2217b** <t:12:R>"


def test_braces_in_values_are_text() -> None:
    assert said("{value} {0} {x.__class__}") == "{value} {0} {x.\u02cd\u02cdclass\u02cd\u02cd}"


def test_control_bidi_and_zero_width_characters_are_gone() -> None:
    assert said(
        "a\x00b\x1b[31m\u202ec\u2066d\u2069e\u200b\u200d\ufeff\u00adf\u3164g\u2800h\ufe0fi\U000e0041j"
    ) == ("a b \u204531mcdefghij")


def test_a_value_is_one_line_without_runs_of_spaces() -> None:
    assert said("  a\r\n\n b\u2028c\u00a0\u3000 d\t") == "a b c d"


def test_marks_do_not_pile_up_nor_sit_on_our_own_text() -> None:
    piled = said("\u0301\u0301x" + "\u0323\u0316\u0301" * 40 + "q\u0323")

    assert (piled[0], piled[4:], len(piled)) == ("x", "q\u0323", 6)


def test_half_of_a_surrogate_pair_can_be_sent() -> None:
    assert said("\ud800x").encode() == b"?x"


def test_numbers_are_values_too() -> None:
    assert say("{a} {b}", a=1, b=-0.5) == "1 -0.5"


def test_of_a_very_long_value_the_beginning_is_said() -> None:
    assert said("ab" * 5_000_000) == "ab" * 512


@given(st.text(st.characters(codec=None)))
def test_whatever_the_value_it_is_one_harmless_line_and_stays_so(value: str) -> None:
    once = said(value)

    assert not ACTS.search(once)
    assert all(unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for one in once)
    assert said(once) == once


PRIVATE = [
    "/srv/corpora/books",
    "books/part one",
    "C:\\Users\\me",
    "C:books",
    "\\\\host\\share",
    "~/notes",
    "~root",
    "secret.txt",
    "my books.jsonl and more",
    "train.parquet",
    "main.c",
    "archive.7z",
    ".env",
    "see .ssh",
    "\uff0fetc\uff0fpasswd",
    "a\u2215b",
    "s\u200becret.txt",
    "secret\uff0etxt",
    "me@example.org",
    "https://example.org",
    "gpu7.cluster.internal",
    "localhost",
    "gpu7:8080",
    "10.0.0.12",
    "fe80:0:0:0:1:2:3:4",
    "fe80::1",
    "::1",
    "password=hunter2",
    "password: hunter2",
    "API_KEY = abc",
    "my_secret_thing=1",
    "Bearer abcdefghij",
    "Basic dXNlcjpwYXNz",
    "-----BEGIN RSA PRIVATE KEY-----",
    "ssh-ed25519 AAAA",
    "sk-proj-abcdefghijklmnop",
    "sk_live_abcdefghijkl",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_11AAAAAAA",
    "glpat-abcdefgh",
    "hf_abcdefghijklmnop",
    "npm_abcdefghijklmnop",
    "pypi-AgEIcHlwaS5vcmc",
    "xoxb-1234-5678",
    "xapp-1-A",
    "ya29.a0AfH6SMB",
    "AIzaSyA-abcdefghijklmnop",
    "dop_v1_abc",
    "SG.abcdefgh",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig",
    "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.abcdefghijklmnopqrstuvwxyz0",
    "mfa.abcdefghijklmnopqrstuvwxyz",
    "80351110224678912",
    "deadbeefdeadbeef01",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "dGhpcyBpcyBhIHNlY3JldCBrZXk=AAAAAAAAAAAAAAAA",
    "aZ3-bY4_cX5-dW6_eV7-fU8",
    RUN,
]


@pytest.mark.parametrize("text", PRIVATE)
def test_a_name_that_looks_private_is_hidden_whole(text: str) -> None:
    assert name(text) == HIDDEN
    assert name(f"my run {text}") == HIDDEN
    assert name(f"({text}) run") == HIDDEN


@pytest.mark.parametrize(
    "text",
    [
        "my run",
        "Tiny Shakespeare, 3rd try (v1.2)",
        "gpt2-124M-lr3e-4-bs64-seed42",
        "GPT2-small-Experiment-Number-7",
        "lr 0.001 e.g. good",
        "started 2024-11-10T12:30:00",
        "run 20241110123456",
        "extraordinarily_long_names_are_fine_too",
        "1:30 a.m.",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "12345678",
        "\u05e9\u05dc\u05d5\u05dd",
        "loss: 2, keys: none",
    ],
)
def test_a_name_of_people_is_said(text: str) -> None:
    assert name(text) == text


def test_markup_in_a_name_does_not_act() -> None:
    assert (
        name("**my** ~~run~~ @everyone")
        == "\u2217\u2217my\u2217\u2217 \u223c\u223crun\u223c\u223c \uff20everyone"
    )


def test_a_name_is_short() -> None:
    assert name("ab " * 5_000_000) == ("ab " * 21).strip() + ELLIPSIS
    assert length_of(name("x " * 200)) <= LONGEST_NAME


@pytest.mark.parametrize("text", ["", "  \n", "\u200b\u202e"])
def test_a_name_of_nothing_visible_is_empty(text: str) -> None:
    assert name(text) == ""


@pytest.mark.parametrize("start", ["password", "a_", "a.", "a:", "secret", "x-", "sk-", "0:", "eyJ"])
def test_no_text_takes_long_to_look_at(start: str) -> None:
    assert len(name(start * 3_000_000)) <= LONGEST_NAME


@pytest.mark.parametrize("text", ["gpt2", "char_lstm", "text-detector", "bpe"])
def test_names_that_programs_give_are_said(text: str) -> None:
    assert word(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GPT2",
        "a b",
        "a.b",
        "secret.txt",
        "/etc",
        "x" * 33,
        "1a",
        "a\n",
        "@here",
        "sk_live_abcdefghijkl",
        "deadbeefdeadbeef01",
    ],
)
def test_other_words_are_not(text: str) -> None:
    assert word(text) == ""


def test_a_run_id_is_said_and_nothing_else_in_its_place() -> None:
    assert run_id(RUN) == RUN
    assert run_id("/etc/passwd") == run_id(RUN + "\n") == "an unknown run"


def test_texts_are_joined_and_clipped() -> None:
    whole = joined([SafeText("one"), SafeText("two")])

    assert whole == "one\ntwo"
    assert joined([SafeText("one"), SafeText("two")], ", ") == "one, two"
    assert clip(whole, 4) == "one" + ELLIPSIS
