"""Texts that must not get out, and what may be seen of a card."""

import re
import unicodedata
from collections.abc import Iterator

from hypothesis import strategies as st

from model_trainer.discord_bot.cards.card import Answer, Button, Card, Field, Suggestion
from model_trainer.discord_bot.cards.lengths import length_of

CANARY = "zqxcanary"
PRIVATE = (
    f"/srv/corpora/{CANARY}/part 1.txt",
    f"C:\\Users\\{CANARY}\\books.parquet",
    f"~/{CANARY}",
    f"{CANARY}.jsonl",
    f"/{CANARY}",
    f"sk-proj-{CANARY}0123456789ABCdef",
    f"ghp_{CANARY}0123456789abcdefghijkl",
    f"hf_{CANARY}AbCdEfGh",
    f"xoxb-1234-{CANARY}",
    f"AKIA0123456789{CANARY}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJ{CANARY}.c2ln",
    f"MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.{CANARY}klmnopqrstuvwxyz01",
    f"password={CANARY}",
    f"Authorization: Bearer {CANARY}abcdef",
    f"{CANARY}@example.org",
    f"redis://:{CANARY}@10.0.0.1:6379",
    f"gpu7.{CANARY}.internal",
    f"9f86d081884c7d659a2feaa0c55ad015{CANARY}0a08",
    f"s\u200becret.t\u202ext/{CANARY}",
    f"\uff0fsrv\uff0f{CANARY}",
    f"[link](https://{CANARY}.org)",
    f"<@80351110224678912> {CANARY}.txt",
)
LOUD = (
    f"@everyone {CANARY}",
    f"@here <@1> <@!1> <#1> <@&1> </{CANARY}:1> <t:1:R> <:{CANARY}:1>",
    f"**{CANARY}** __u__ _i_ ~~s~~ ||p|| `c` ```\n{CANARY}\n```",
    f"# {CANARY}",
    f"\n> {CANARY}\n- {CANARY}\n1. {CANARY}",
    f"a\x00\x1b[31m{CANARY}\u202e\u2066\u200b\ufeff\ud800",
    f"\u0301\u0301{CANARY}" + "\u0316" * 99,
    f"{CANARY} " * 1_200_000,
)
"""Ten million characters is the last; names of people may be seen of these, made harmless, and nothing of other texts."""

private_texts = st.sampled_from(PRIVATE) | st.builds(
    lambda start, end: f"{start} /{CANARY}/{end}", st.text(max_size=20), st.text(max_size=20)
)
any_texts = (
    private_texts | st.sampled_from(LOUD) | st.builds(lambda text: f"! {text}{CANARY}", st.text(max_size=40))
)

_OUR_MARKUP = re.compile(r"<t:[0-9]{1,12}:R>|\*\*[A-Za-z0-9_.]+\*\*|`[A-Za-z0-9_ ]+`")
_OUR_SLASHES = re.compile(r"/(?:trainer (?:runs|watch)|status|train)\b|tokens/s")
_ACTS = re.compile(r"[*~`|<>@#\[\]\\/]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?m:^[-+] |^[0-9]+\. )")
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def texts_of(shown: object) -> Iterator[str]:
    """All that people see of a card, an answer, a list, and what a button carries."""
    match shown:
        case str():
            yield shown
        case Answer():
            yield from texts_of(shown.card)
        case Card():
            yield from (shown.title, shown.text, shown.mark)
            for part in (*shown.fields, *shown.buttons):
                yield from texts_of(part)
        case Field():
            yield from (shown.name, shown.value)
        case Button():
            yield from (shown.label, shown.press)
        case Suggestion():
            yield from (shown.label, shown.value)
        case _:
            assert isinstance(shown, tuple | list), shown
            for one in shown:
                yield from texts_of(one)


def assert_harmless(shown: object) -> None:
    """Nothing acts but our own markup, and Discord's limits hold."""
    for text in texts_of(shown):
        assert not _ACTS.search(_OUR_SLASHES.sub("", _OUR_MARKUP.sub("", text))), text[:200]
        assert all(one == "\n" or unicodedata.category(one) not in _UNSEEN for one in text), ascii(text[:200])
        text.encode()
    if isinstance(shown, Answer | Card):
        _assert_within_limits(shown.card if isinstance(shown, Answer) else shown)


def assert_silent(shown: object) -> None:
    """Nothing is left of a hostile text, however it is spelt."""
    for text in texts_of(shown):
        folded = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).lower()))
        assert CANARY[3:] not in folded, text[:200]


def _assert_within_limits(card: Card) -> None:
    """https://discord.com/developers/docs/resources/message#embed-object-embed-limits"""
    assert 1 <= length_of(card.title) <= 256
    assert length_of(card.text) <= 4096
    assert length_of(card.mark) <= 2048
    assert len(card.fields) <= 25
    assert all(
        1 <= length_of(field.name) <= 256 and 1 <= length_of(field.value) <= 1024 for field in card.fields
    )
    in_fields = sum(length_of(field.name) + length_of(field.value) for field in card.fields)
    assert length_of(card.title) + length_of(card.text) + length_of(card.mark) + in_fields <= 6000
    assert len(card.buttons) <= 25
    assert all(1 <= length_of(one.label) <= 80 and 1 <= length_of(one.press) <= 100 for one in card.buttons)
