import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.export.parity import TOLERANCE, batches, compare, parity
from tests.unit.engine.export.toys import PLAN, WORDS, ToyClassifier, toy


class _Off:
    """The toy's logits, but for a difference in one window of each batch."""

    def __init__(self, model: ToyClassifier, difference: float) -> None:
        self._model = model
        self._difference = difference

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self._model.eval()
        with torch.no_grad():
            logits: NDArray[np.float32] = self._model(
                torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
            ).numpy()
        logits[-1] += self._difference
        return logits


def test_windows_of_many_lengths_go_through_both_alone_and_together(exported: Path) -> None:
    found = parity(toy(), exported, windows=PLAN, vocab_size=len(WORDS), threads=1)
    lengths = [[len(window) for window in batch] for batch in batches(PLAN, len(WORDS))]
    assert lengths == [[3], [8], [3, 8], [6, 5, 8], [8, 8, 8, 8]]
    assert found.num_windows == 11
    assert 0 < found.max_difference < 1e-6
    assert found.passed
    assert found.tolerance == TOLERANCE


def test_the_windows_are_always_the_same_and_hold_tokens_from_the_whole_vocabulary() -> None:
    several = batches(PLAN, 1000)
    assert several == batches(PLAN, 1000)
    ids = {token for batch in several for window in batch for token in window[1:-1]}
    assert len(ids) > 40
    assert max(ids) > 900
    assert all(window[0] == 2 and window[-1] == 3 for batch in several for window in batch)


def test_the_largest_difference_is_told() -> None:
    model = toy()
    found = compare(model, _Off(model, 5e-5), batches(PLAN, len(WORDS)), pad_id=0)
    assert found.max_difference == pytest.approx(5e-5, rel=0.05)


def test_dropout_plays_no_part_in_the_comparison() -> None:
    model = toy()
    network = _Off(toy(), 0.0)
    model.train()
    assert compare(model, network, batches(PLAN, len(WORDS)), pad_id=0).max_difference < 1e-6
    assert model.training


@pytest.mark.parametrize("difference", [2e-4, -2e-4, math.nan])
def test_another_network_is_refused_with_the_numbers(difference: float) -> None:
    model = toy()
    with pytest.raises(
        AppError, match=r"differs by (0.0002|nan), more than 0.0001, on 1 windows of 3 tokens"
    ) as raised:
        compare(model, _Off(model, difference), batches(PLAN, len(WORDS)), pad_id=0)
    assert raised.value.code is ErrorCode.EVALUATION_FAILED
    assert raised.value.facts["tokens"] == 3
