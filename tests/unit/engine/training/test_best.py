from model_trainer.core.contracts.training import EarlyStoppingSpec
from model_trainer.engine.training.best import BestSoFar


def judge(
    values: list[float], rule: EarlyStoppingSpec | None, metric: str = "loss"
) -> tuple[BestSoFar, list[bool]]:
    best = BestSoFar(rule)
    return best, [
        best.consider({metric: value}, step=10 * place) for place, value in enumerate(values, start=1)
    ]


def test_without_early_stopping_the_lowest_loss_is_best_and_nothing_stops() -> None:
    best, verdicts = judge([3.0, 2.0, 2.5, 2.4, 2.3, 2.2], None)
    assert verdicts == [True, True, False, False, False, False]
    assert (best.state.step, best.state.value, best.state.metrics) == (20, 2.0, {"loss": 2.0})
    assert not best.state.stopped_early


def test_a_run_stops_after_patience_evaluations_without_improvement() -> None:
    assert not judge([2.0, 2.1], EarlyStoppingSpec(patience=2))[0].state.stopped_early
    assert judge([2.0, 2.1, 2.1], EarlyStoppingSpec(patience=2))[0].state.stopped_early


def test_an_improvement_starts_the_patience_anew() -> None:
    assert not judge([2.0, 2.1, 1.9, 2.0], EarlyStoppingSpec(patience=2))[0].state.stopped_early


def test_an_improvement_below_min_delta_is_best_but_does_not_save_the_run() -> None:
    best, verdicts = judge([2.0, 1.95, 1.92], EarlyStoppingSpec(patience=2, min_delta=0.1))
    assert verdicts == [True, True, True]
    assert best.state.stopped_early
    # Small steps add up: the reference is the last real improvement.
    assert not judge([2.0, 1.95, 1.89], EarlyStoppingSpec(patience=2, min_delta=0.1))[0].state.stopped_early


def test_accuracy_is_better_when_higher() -> None:
    best, verdicts = judge([0.5, 0.6, 0.55], EarlyStoppingSpec(metric="accuracy"), metric="accuracy")
    assert verdicts == [True, True, False]
    assert best.state.value == 0.6


def test_evaluations_of_the_warm_up_do_not_count_against_the_run() -> None:
    rule = EarlyStoppingSpec(patience=1, warmup_evals=2)
    assert not judge([2.0, 3.0], rule)[0].state.stopped_early
    assert judge([2.0, 3.0, 3.0], rule)[0].state.stopped_early
