"""Makes text that may be sent: what others wrote can neither mention, format, hide nor reorder anything, and what looks
like a path, an address or a secret is not said at all.

What would act is put as a character that looks like it, not escaped: it stays harmless in titles, labels and suggestions,
where a backslash would be seen, when it is cut, and when it is made safe once more.
"""

import re
import unicodedata
from collections.abc import Iterable

from model_trainer.core.contracts.ids import is_ulid
from model_trainer.discord_bot.cards.card import SafeText
from model_trainer.discord_bot.cards.lengths import shortened
from model_trainer.discord_bot.cards.private_text import looks_private

LONGEST_NAME = 64
HIDDEN = SafeText("(hidden)")
"""Said in place of what looks private."""

_LONGEST_READ = 1024
"""Characters of a text that are looked at; nobody is shown more of one value."""
_MOST_MARKS = 3
"""Combining marks that one letter keeps: no language that is written needs more."""
_LOOK_ALIKES = {
    "*": "\u2217",
    "~": "\u223c",
    "`": "\u02cb",
    "|": "\u00a6",
    "<": "\u2039",
    ">": "\u203a",
    "@": "\uff20",
    "#": "\uff03",
    "[": "\u2045",
    "]": "\u2046",
    "\\": "\u29f5",
    "/": "\u2215",
}
_TABLE = str.maketrans(_LOOK_ALIKES)
_UNDERSCORE, _HYPHEN, _FULL_STOP = "\u02cd", "\u2010", "\u2024"
_INVISIBLE = frozenset(
    [
        *map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)),
        *map(chr, range(0x180B, 0x1810)),
        *map(chr, range(0xFE00, 0xFE10)),
        *map(chr, range(0xE0100, 0xE01F0)),
    ]
)
"""Drawn as nothing, though Unicode calls them letters, marks or symbols: fillers and variation selectors."""


def say(template: str, **values: object) -> SafeText:
    """A sentence of ours with values of others in it; `template` is trusted, and its markup acts."""
    return SafeText(template.format(**{name: _harmless(str(value)) for name, value in values.items()}))


def joined(parts: Iterable[SafeText], separator: str = "\n") -> SafeText:
    """Several texts as one; `separator` is ours."""
    return SafeText(separator.join(parts))


def name(text: str) -> SafeText:
    """What somebody called something; empty where nothing can be seen of it, HIDDEN where it looks private."""
    seen = _visible(text[:_LONGEST_READ])
    return HIDDEN if looks_private(seen) else SafeText(shortened(_harmless(seen), LONGEST_NAME))


def word(text: str) -> SafeText:
    """A name that programs give, such as a family's; empty for anything that is not one."""
    is_word = re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", text) is not None and not looks_private(text)
    return SafeText(_harmless(text)) if is_word else SafeText("")


def run_id(text: str) -> SafeText:
    """A run's id; a stand-in for what is none."""
    return SafeText(text) if is_ulid(text) else SafeText("an unknown run")


def clip(text: SafeText, limit: int) -> SafeText:
    """Within `limit` characters, as Discord counts them, with an ellipsis where something is left out."""
    return SafeText(shortened(text, limit))


def _harmless(text: str) -> str:
    """One line that does nothing."""
    seen = _visible(text[:_LONGEST_READ]).translate(_TABLE)
    seen = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", _UNDERSCORE, seen)  # my_run is read as it is
    seen = re.sub(r"^[-+](?=\s|$|\uff03)", _HYPHEN, seen)  # the dash of a list or of small print
    return re.sub(r"^([0-9]+)\.(?=\s|$)", rf"\1{_FULL_STOP}", seen)  # the number of a list


def _visible(text: str) -> str:
    """What a reader would see, on one line: no control, bidi, joining or zero-width character, no piles of marks."""
    whole = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    kept: list[str] = []
    marks = _MOST_MARKS  # a mark at the beginning would sit on our own text
    for one in map(_spaced, whole):
        kind = unicodedata.category(one)
        if kind.startswith("C") or one in _INVISIBLE:
            continue
        marks = marks + 1 if kind.startswith("M") else 0
        if marks <= _MOST_MARKS and not (one == " " and kept[-1:] in ([], [" "])):
            kept.append(one)
    return "".join(kept).strip()


def _spaced(one: str) -> str:
    """A plain space for every space, line break and control character."""
    return " " if unicodedata.category(one) in ("Cc", "Zl", "Zp", "Zs") else one
