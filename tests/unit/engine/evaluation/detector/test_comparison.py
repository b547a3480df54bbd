from dataclasses import replace

import numpy as np
import pytest

from model_trainer.core.contracts.detector_evaluation import DetectorComparison
from model_trainer.engine.data.logits import Logits
from model_trainer.engine.evaluation.detector.bootstrap import interval_of, resamplings
from model_trainer.engine.evaluation.detector.comparison import Contender
from model_trainer.engine.evaluation.detector.metrics import RankedTexts, numbered
from tests.unit.engine.calibration.toys import drawn_logits

OURS = drawn_logits(400, seed=1)


def _noisy(logits: Logits, noise: float, seed: int = 0) -> Logits:
    generator = np.random.default_rng(seed)
    return replace(logits, logits=logits.logits + generator.normal(0, noise, len(logits.logits)))


def _compared(ours: Logits, theirs: Logits, *, samples: int = 400) -> DetectorComparison:
    groups = numbered(ours.groups)
    ranked = RankedTexts(ours.logits, ours.labels, groups)
    contender = Contender("theirs", theirs, ours)
    rounds = [*resamplings(ours.labels, groups, samples=samples, seed=0)]
    return contender.compared(
        ranked.roc_auc(int(groups.max()) + 1),
        our_rounds=[ranked.figures(each).roc_auc for each in rounds],
        their_rounds=[contender.resampled(each) for each in rounds],
    )


def test_a_clear_loss_is_a_regression() -> None:
    found = _compared(_noisy(OURS, 5.0), OURS)
    assert found.run_id == "theirs"
    assert found.difference == pytest.approx(found.ours - found.theirs)
    assert found.difference < -0.1
    assert found.interval is not None
    assert found.interval.low < found.difference < found.interval.high < 0
    assert found.regression
    assert found.same_data


def test_a_loss_that_luck_may_explain_is_none() -> None:
    found = _compared(_noisy(OURS, 1.0, seed=3), _noisy(OURS, 0.95, seed=7))
    assert found.interval is not None
    assert found.interval.low < 0 < found.interval.high
    assert not found.regression


def test_a_gain_is_no_regression() -> None:
    found = _compared(OURS, _noisy(OURS, 5.0))
    assert found.interval is not None
    assert found.interval.low > 0
    assert not found.regression


def test_both_runs_see_the_same_resamplings_so_that_their_common_luck_cancels() -> None:
    groups = numbered(OURS.groups)
    ranked = RankedTexts(OURS.logits, OURS.labels, groups)
    alone = interval_of(
        [ranked.figures(each).roc_auc for each in resamplings(OURS.labels, groups, samples=400, seed=0)]
    )
    found = _compared(_noisy(OURS, 0.3), OURS)
    assert alone is not None
    assert found.interval is not None
    assert found.interval.high - found.interval.low < 0.4 * (alone.high - alone.low)


def test_other_texts_stand_side_by_side_and_are_never_a_regression() -> None:
    other = drawn_logits(300, seed=2)
    found = _compared(_noisy(OURS, 5.0), other)
    assert not found.same_data
    assert found.interval is None
    assert not found.regression
    assert found.theirs == RankedTexts(other.logits, other.labels, other.groups).roc_auc(300)


def test_without_resamplings_nothing_is_called_a_regression() -> None:
    found = _compared(_noisy(OURS, 5.0), OURS, samples=0)
    assert found.difference < -0.1
    assert found.interval is None
    assert not found.regression


def test_another_numbering_of_the_same_groups_changes_nothing() -> None:
    renumbered = replace(OURS, groups=OURS.groups[::-1] * 7)
    assert _compared(_noisy(OURS, 1.0), renumbered) == _compared(_noisy(OURS, 1.0), OURS)
