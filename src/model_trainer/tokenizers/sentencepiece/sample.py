"""A bounded, seeded sample of lines out of a stream of any length. Knows no library."""

import random
from dataclasses import dataclass

from model_trainer.tokenizers.kind import Texts, TrainingReport

SENTENCE_CHARACTERS = 4000
"""Longer lines are cut: the library drops a sentence above its own limit without a word."""
_UNKNOWN_MARK = "\u2585"
"""It also drops every sentence that holds its own mark for unknown characters, or a NUL: so lines end there too."""
_REPORT_EVERY_BYTES = 1 << 20
_SAMPLING_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Sample:
    """Lines to train on, and how they came about."""

    sentences: list[str]
    num_bytes: int
    fraction: float
    """Chance of each line to be taken; 1 when all were."""


def sample_sentences(
    texts: Texts, *, sample_bytes: int, num_bytes: int, seed: int, report: TrainingReport
) -> Sample:
    """Lines of `texts`, all of them up to `sample_bytes`, otherwise each with the same chance; never more than that."""
    fraction = min(1.0, sample_bytes / max(1, num_bytes))
    generator = random.Random(seed)
    sentences: list[str] = []
    taken = seen = reported = 0
    for text in texts():
        seen += len(text.encode())
        found = _sentences(text)
        if fraction < 1:
            found = [sentence for sentence in found if generator.random() < fraction]
        found, num_found = _first(found, sample_bytes - taken)
        sentences += found
        taken += num_found
        if seen - reported >= _REPORT_EVERY_BYTES:
            reported = seen
            report(_SAMPLING_SHARE * min(1.0, seen / max(1, num_bytes)), "sampling lines")
    return Sample(sentences, taken, fraction)


def _sentences(text: str) -> list[str]:
    lines = text.replace("\0", "\n").replace(_UNKNOWN_MARK, "\n").split("\n")
    if max(map(len, lines)) > SENTENCE_CHARACTERS:
        lines = [
            line[begin : begin + SENTENCE_CHARACTERS]
            for line in lines
            for begin in range(0, len(line), SENTENCE_CHARACTERS)
        ]
    return list(filter(None, lines))


def _first(sentences: list[str], room: int) -> tuple[list[str], int]:
    """As many of the sentences as fit into `room` bytes, and their bytes."""
    num_bytes = len("".join(sentences).encode())
    while num_bytes > room:
        num_bytes -= len(sentences.pop().encode())
    return sentences, num_bytes
