"""Reads a text before it is cut into tokens: look-alike letters and invisible characters undone, whitespace collapsed.

Small on purpose, with a table of its own: what attacks on detectors use (RAID's homoglyphs and zero-width spaces), and
nothing that a writer of another script would miss.
"""

import re
import unicodedata
from collections.abc import Iterable
from string import ascii_letters

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.detector import Reading


def read_text(text: str, reading: Reading) -> str:
    """`text` as the model is shown it."""
    if reading.normalise_unicode:
        text = normalised(text)
    return " ".join(text.split()) if reading.collapse_whitespace else text


def normalised(text: str) -> str:
    """`text` with odd spaces as plain ones, without invisible characters, and with Latin letters for what looks like them.

    Letters of another script are replaced only where the text is written in Latin: fewer letters of that script without a
    Latin double than there are Latin letters; and only in words without such a letter. So Russian and Greek stay as they
    are, also where a Latin text quotes them.
    """
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", _JOINERS.sub("", text.translate(_SINGLE)))
    num_latin = sum(letter in _LATIN for letter in text)
    for own, doubles in _SCRIPTS:
        num_own = sum(letter in own for letter in text)
        if num_own < num_latin:
            text = " ".join(
                word if not own.isdisjoint(word) else word.translate(doubles) for word in text.split(" ")
            )
    return text


def tables() -> JsonObject:
    """What normalised() goes by, for programs that cannot import it: code points (as text), letters, regular expressions."""
    return {
        "characters": {str(code): text for code, text in _SINGLE.items()},
        "joiners": _JOINERS.pattern,
        "invisible": _INVISIBLE.pattern,
        "latin": "".join(sorted(_LATIN)),
        "scripts": [
            {
                "own": "".join(sorted(own)),
                "doubles": {str(code): letter for code, letter in doubles.items()},
            }
            for own, doubles in _SCRIPTS
        ],
    }


def _pairs(text: str) -> dict[int, str]:
    """`430:a 435:e` as a table: the code point looks like the letter."""
    table: dict[int, str] = {}
    for pair in text.split():
        code, _, letter = pair.partition(":")
        table[int(code, 16)] = letter
    return table


def _plain(codes: Iterable[int]) -> dict[int, str]:
    """Styled letters as the letters they are."""
    return {code: unicodedata.normalize("NFKC", chr(code)) for code in codes}


def _own(letters: range, doubles: dict[int, str]) -> frozenset[str]:
    """The letters of a script that no Latin one looks like."""
    return frozenset(chr(code) for code in letters if code not in doubles)


_LATIN = frozenset(ascii_letters)
_CYRILLIC = _pairs(
    "405:S 406:I 408:J 410:A 412:B 415:E 417:3 41A:K 41C:M 41D:H 41E:O 420:P 421:C 422:T 423:Y 425:X 42C:b 4AE:Y 4BA:H "
    "4C0:I 50C:G 51A:Q 51C:W 430:a 433:r 435:e 43E:o 440:p 441:c 443:y 445:x 455:s 456:i 458:j 475:v 4AF:y 4BB:h 4CF:l "
    "501:d 51B:q 51D:w"
)
_GREEK = _pairs(
    "37F:J 391:A 392:B 395:E 396:Z 397:H 399:I 39A:K 39C:M 39D:N 39F:O 3A1:P 3A4:T 3A5:Y 3A7:X 3F9:C 3B1:a 3B3:y 3B5:e "
    "3B7:n 3B9:i 3BA:k 3BD:v 3BF:o 3C1:p 3C4:t 3C5:u 3C7:x 3F2:c 3F3:j"
)
_ARMENIAN = _pairs("54D:U 555:O 570:h 578:n 57D:u 581:g 585:o 566:q 56E:o 575:j 561:w")
_SCRIPTS = (
    (_own(range(0x400, 0x530), _CYRILLIC), _CYRILLIC),
    (_own(range(0x370, 0x400), _GREEK), _GREEK),
    (_own(range(0x531, 0x588), _ARMENIAN), _ARMENIAN),
)
"""Letters of a script that are its own, and the Latin doubles of the others (Unicode's confusables.txt, UTS 39, as far as a reader would be fooled)."""

_SINGLE: dict[int, str] = {
    **_plain(range(0x2160, 0x2180)),  # Roman numerals
    **_plain(range(0x24B6, 0x24EA)),  # circled letters
    **_plain(range(0xFB00, 0xFB07)),  # ligatures
    **_plain(range(0xFF10, 0xFF1A)),  # full-width digits and letters
    **_plain(range(0xFF21, 0xFF3B)),
    **_plain(range(0xFF41, 0xFF5B)),
    **_plain(range(0x1D400, 0x1D800)),  # mathematical letters and digits
    **_plain(range(0x2000, 0x200B)),  # spaces
    **_plain((0xA0, 0x202F, 0x205F, 0x3000)),
    **_pairs("131:i 251:a 261:g 269:i 1C3:! 2010:- 2011:-"),
}
"""One character for another, in any text."""

_INVISIBLE = re.compile(
    "["
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f"
    "]"
)
_JOINERS = re.compile("(?<![^\u0000-\u024f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\u0000-\u024f])")
"""Zero-width joiners and non-joiners beside Latin letters, where they join nothing; Persian, Hindi and emoji need theirs."""
