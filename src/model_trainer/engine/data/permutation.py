"""A shuffle that is a function: where each index goes, without a table.

A generalised Feistel network over Z_a x Z_b with cycle walking (Black and Rogaway, "Ciphers with arbitrary finite
domains", CT-RSA 2002, section 4). torch.randperm needs 8 bytes a window and a pass over all of them each epoch, and
its order belongs to torch's generator; this needs nothing but the key and stays the same in every library version.
"""

import math

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_DOUBLE_ROUNDS = 3
"""Four half-rounds make a pseudo-random permutation of a random function (Luby and Rackoff); six leave a margin."""


def permuted(index: int, *, size: int, key: int) -> int:
    """Where `index` goes in the permutation of range(size) that `key` names."""
    num_columns = math.isqrt(size - 1) + 1
    num_rows = -(-size // num_columns)
    place = index
    while True:
        row, column = divmod(place, num_columns)
        for half_round in range(0, 2 * _DOUBLE_ROUNDS, 2):
            column = (column + mixed(key, half_round, row)) % num_columns
            row = (row + mixed(key, half_round + 1, column)) % num_rows
        place = row * num_columns + column
        # The grid is at most one row larger than the range: what lands outside walks on, and that is rare.
        if place < size:
            return place


def mixed(*numbers: int) -> int:
    """64 well-mixed bits that depend on every number and on their order (splitmix64's finaliser, chained)."""
    state = 0
    for number in numbers:
        state = (state ^ (number & _MASK)) * _GOLDEN + _GOLDEN & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state
