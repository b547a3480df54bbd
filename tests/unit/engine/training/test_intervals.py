from model_trainer.core.contracts.training import CheckpointSpec
from model_trainer.engine.training.intervals import Intervals, intervals, total_steps
from tests.unit.engine.training.toys import toy_recipe


def derived(total: int, *, steps_per_epoch: float) -> Intervals:
    recipe = toy_recipe(log_every_steps=None, eval_every_steps=None, checkpoint=CheckpointSpec())
    return intervals(recipe, total_steps=total, steps_per_epoch=steps_per_epoch)


def test_epochs_become_steps_rounded_up_and_at_least_one() -> None:
    assert total_steps(toy_recipe(num_epochs=2.0, max_steps=None), steps_per_epoch=10.3) == 21
    assert total_steps(toy_recipe(num_epochs=0.001, max_steps=None), steps_per_epoch=3.0) == 1
    assert total_steps(toy_recipe(max_steps=17), steps_per_epoch=3.0) == 17


def test_what_the_recipe_says_is_taken() -> None:
    recipe = toy_recipe(log_every_steps=3, eval_every_steps=4, checkpoint=CheckpointSpec(every_steps=5))
    assert intervals(recipe, total_steps=1000, steps_per_epoch=10.0) == Intervals(
        log=3, evaluate=4, checkpoint=5, checkpoint_seconds=None
    )


def test_a_run_of_many_epochs_has_a_hundred_rows_and_ten_evaluations_and_checkpoints() -> None:
    assert derived(3000, steps_per_epoch=30.0) == Intervals(
        log=30, evaluate=300, checkpoint=300, checkpoint_seconds=300.0
    )


def test_a_short_run_on_a_large_corpus_evaluates_less_often() -> None:
    # An evaluation here costs 4000 / 9 * 2 / 3 = 296 steps; a tenth of 6000 pays for two.
    assert derived(6000, steps_per_epoch=4000.0).evaluate == 3000
    assert derived(3000, steps_per_epoch=40_000.0).evaluate == 3000


def test_a_long_run_logs_and_saves_by_distance() -> None:
    assert derived(1_000_000, steps_per_epoch=30.0) == Intervals(
        log=100, evaluate=100_000, checkpoint=1000, checkpoint_seconds=300.0
    )


def test_a_run_of_one_step_does_everything_in_it() -> None:
    assert derived(1, steps_per_epoch=30.0) == Intervals(
        log=1, evaluate=1, checkpoint=1, checkpoint_seconds=300.0
    )


def test_seconds_alone_leave_steps_out_and_both_go_together() -> None:
    by_clock = toy_recipe(checkpoint=CheckpointSpec(every_seconds=2.5))
    both = toy_recipe(checkpoint=CheckpointSpec(every_seconds=2.5, every_steps=7))
    found = [intervals(recipe, total_steps=100, steps_per_epoch=10.0) for recipe in (by_clock, both)]
    assert [(each.checkpoint, each.checkpoint_seconds) for each in found] == [(None, 2.5), (7, 2.5)]
