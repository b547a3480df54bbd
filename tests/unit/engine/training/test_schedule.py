import pytest

from model_trainer.core.contracts.training import ScheduleName
from model_trainer.engine.training.schedule import multiplier
from tests.unit.engine.training.toys import toy_recipe


def curve(name: ScheduleName, *, total: int = 10, warmup: int = 2, **changes: object) -> list[float]:
    recipe = toy_recipe(schedule=name, warmup_steps=warmup, **changes)
    return [multiplier(step, total_steps=total, recipe=recipe) for step in range(total)]


def test_warm_up_rises_linearly_to_the_peak() -> None:
    assert curve("constant", warmup=4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_constant_stays_at_the_peak() -> None:
    assert set(curve("constant", warmup=0)) == {1.0}


def test_linear_falls_evenly_and_would_reach_the_end_one_step_later() -> None:
    assert curve("linear", total=6, final_fraction=0.2) == pytest.approx([0.5, 1.0, 1.0, 0.8, 0.6, 0.4])


def test_cosine_is_half_way_down_in_the_middle() -> None:
    values = curve("cosine", total=12, final_fraction=0.1)
    assert values[2] == 1.0
    assert values[7] == pytest.approx(0.55)
    assert values[11] == pytest.approx(0.1 + 0.9 * 0.02447, abs=1e-4)


def test_warmup_stable_decay_is_flat_and_falls_over_the_last_part() -> None:
    values = curve("warmup_stable_decay", decay_fraction=0.4)
    assert values[:2] == [0.5, 1.0]
    assert values[2:7] == [1.0] * 5
    assert values[7:] == pytest.approx([0.75, 0.5, 0.25])


def test_a_decay_as_long_as_the_run_begins_after_the_warm_up() -> None:
    assert curve("warmup_stable_decay", total=6, decay_fraction=1.0) == pytest.approx(
        [0.5, 1, 1, 0.75, 0.5, 0.25]
    )


def test_a_run_shorter_than_its_warm_up_just_rises() -> None:
    assert curve("cosine", total=3, warmup=6) == pytest.approx([1 / 6, 2 / 6, 3 / 6])
