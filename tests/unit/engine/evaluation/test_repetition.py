import pytest

from model_trainer.engine.evaluation.repetition import sample_stats


def test_distinct_n_counts_different_n_grams_over_all_of_them() -> None:
    stats = sample_stats(["a b a b a"])
    assert stats.distinct_1 == pytest.approx(2 / 5)
    assert stats.distinct_2 == pytest.approx(2 / 4)
    assert stats.distinct_3 == pytest.approx(2 / 3)


def test_the_same_text_twice_is_half_as_distinct_but_does_not_repeat_itself() -> None:
    stats = sample_stats(["a b c d e", "a b c d e"])
    assert stats.distinct_1 == 0.5
    assert stats.distinct_3 == 0.5
    assert stats.repetition_4 == 0.0


def test_repetition_is_the_share_of_4_grams_seen_earlier_in_the_same_text() -> None:
    assert sample_stats(["a b c d a b c d a"]).repetition_4 == pytest.approx(2 / 6)
    assert sample_stats(["a a a a a a a", "b c d e"]).repetition_4 == pytest.approx(3 / 5)


def test_text_too_short_for_an_n_gram_counts_for_nothing() -> None:
    stats = sample_stats(["a b", ""])
    assert (stats.distinct_2, stats.distinct_3, stats.repetition_4) == (1.0, 0.0, 0.0)
    assert sample_stats([]).distinct_1 == 0.0
