"""How long Discord takes a text to be, and how one is cut that is longer.

Discord counts code points (discord-api-docs issue 1315); we count UTF-16 units, which are never fewer.
"""

import unicodedata

ELLIPSIS = "\u2026"
_LONGEST_CHARACTER = 32
"""Code points looked back to find where a character begins: a cut inside a longer pile of marks hurts nobody."""
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_JOINER = "\u200d"


def length_of(text: str) -> int:
    """Units of UTF-16."""
    return len(text) + sum(ord(one) > 0xFFFF for one in text)


def shortened(text: str, limit: int) -> str:
    """`text` within `limit` units, with an ellipsis in place of what is left out; no character is cut in half."""
    head = text[: limit + 1]
    if length_of(head) <= limit:
        return head
    room = limit - len(ELLIPSIS)
    end = len(head)
    while end > 0 and length_of(head[:end]) > room:
        end -= max(1, (length_of(head[:end]) - room) // 2)
    return head[: _character_start(head, end)].rstrip() + ELLIPSIS if limit > 0 else ""


def _character_start(text: str, end: int) -> int:
    """The last place at or before `end` where a character that people see begins."""
    for place in range(end, max(0, end - _LONGEST_CHARACTER), -1):
        if not _goes_on(text, place):
            return place
    return end


def _goes_on(text: str, place: int) -> bool:
    """Whether what stands at `place` belongs to what stands before it."""
    after, before = text[place], text[place - 1]
    if unicodedata.category(after).startswith("M") or ord(after) in _SKIN_TONES:
        return True
    if _JOINER in (after, before):
        return True
    return ord(after) in _FLAG_LETTERS and _flags_before(text, place) % 2 == 1


def _flags_before(text: str, place: int) -> int:
    """Letters of flags in a row before `place`: two of them make a flag."""
    start = place
    while start > 0 and ord(text[start - 1]) in _FLAG_LETTERS:
        start -= 1
    return place - start
