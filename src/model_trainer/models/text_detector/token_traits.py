"""What a token's text says by itself: which marks it has, whether it begins a word, how it is spelt; and the sizes that follow. Torch-free."""

CHARACTERS = ".,\"'-()!?:;0123456789/*\u201c\u201d\u2019\u2018\u2013\u2014$\u00a3%&[]_"
"""Marks and digits that are counted one by one."""
LENGTH = len(CHARACTERS)
STARTS_WORD = LENGTH + 1
UPPER = LENGTH + 2
CAPITALISED = LENGTH + 3
SENTENCE_ENDS = LENGTH + 8
NUM_TRAITS = LENGTH + 9
"""Places in the list of traits."""

LONGEST_GRAM = 3
"""Tokens of the longest n-grams whose repetition is looked at."""
NUM_FIGURES = 3 * LONGEST_GRAM + len(CHARACTERS) + 3 + (NUM_TRAITS - UPPER) + 1 + 3 + 4
"""Of a window, in all; see lexical.py."""
HIDDEN = 128
"""Width of the perceptron over them; half as many did worse where texts are few (README.md)."""


def count_lexical_parameters(buckets: int) -> tuple[int, int]:
    """Looked-up and other parameters of the lexical part."""
    return buckets, 1 + NUM_FIGURES * HIDDEN + HIDDEN + HIDDEN + 1


def traits_of(token: str) -> list[float]:
    """The traits of one token's text; a special token's text is empty, and so are its traits."""
    bare = token.strip()
    spelt: list[float] = [
        len(token),
        token.startswith(" "),
        sum(letter.isupper() for letter in token),
        len(token) > 1 and token[0] == " " and token[1].isupper(),
        sum(letter.isdigit() for letter in token),
        token.isalpha(),
        sum(not letter.isascii() for letter in token),
        len(bare) > 1 and bare.isupper(),
        any(letter in ".!?" for letter in token),
    ]
    return [*(float(token.count(mark)) for mark in CHARACTERS), *map(float, spelt)]
