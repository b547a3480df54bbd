"""Trivial traits of a text: what a shortcut would go by instead of reading it."""

import string

COUNTS = ("words", "copies")
"""Traits that every row has anyway."""
TRAITS = (
    "characters",
    "newlines",
    "tabs",
    "double_spaces",
    "edge_whitespace",
    "punctuation_share",
    "non_ascii_share",
    "digit_share",
    "upper_case_share",
)
TRAIT_NAMES = {
    "words": "length in words",
    "copies": "number of copies of the text (duplicates)",
    "characters": "length in characters",
    "newlines": "number of newlines",
    "tabs": "number of tabs",
    "double_spaces": "number of double spaces",
    "edge_whitespace": "white space at the beginning and end",
    "punctuation_share": "share of punctuation",
    "non_ascii_share": "share of characters beyond ASCII",
    "digit_share": "share of digits",
    "upper_case_share": "share of upper-case letters",
}
_PUNCTUATION = string.punctuation.encode()
_DIGITS = string.digits.encode()
_UPPER_CASE = string.ascii_uppercase.encode()
_BEYOND_ASCII = bytes(range(128, 256))


def traits_of(text: str) -> tuple[float, ...]:
    """In the order of TRAITS. Punctuation, digits and letters are ASCII's: counted in bytes, at the speed of memory."""
    data = text.encode()
    characters = len(text)
    whole = max(1, characters)
    ascii_characters = len(data.translate(None, _BEYOND_ASCII))
    return (
        characters,
        text.count("\n"),
        text.count("\t"),
        text.count("  "),
        characters - len(text.strip()),
        _number(data, _PUNCTUATION) / whole,
        (characters - ascii_characters) / whole,
        _number(data, _DIGITS) / whole,
        _number(data, _UPPER_CASE) / whole,
    )


def _number(data: bytes, wanted: bytes) -> int:
    return len(data) - len(data.translate(None, wanted))
