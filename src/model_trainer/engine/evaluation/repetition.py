"""How varied generated text is, from the text alone."""

from collections.abc import Sequence

from model_trainer.core.contracts.evaluation import SampleStats

Gram = tuple[str, ...]


def sample_stats(texts: Sequence[str]) -> SampleStats:
    """distinct-n over all texts together (Li et al. 2016, arXiv 1510.03055) and repetition within each.

    In words, so that tokenizers can be compared; no text is varied when there is none (0).
    """
    words = [text.split() for text in texts]
    return SampleStats(
        distinct_1=_distinct(words, 1),
        distinct_2=_distinct(words, 2),
        distinct_3=_distinct(words, 3),
        repetition_4=_repetition(words, 4),
    )


def _distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Different n-grams over all n-grams."""
    grams = [gram for words in texts for gram in _grams(words, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def _repetition(texts: Sequence[Sequence[str]], n: int) -> float:
    """Share of n-grams that occurred earlier in the same text."""
    total, repeated = 0, 0
    for words in texts:
        grams = _grams(words, n)
        total += len(grams)
        repeated += len(grams) - len(set(grams))
    return repeated / total if total else 0.0


def _grams(words: Sequence[str], n: int) -> list[Gram]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
