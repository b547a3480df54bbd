import pytest

from model_trainer.engine.training.micro_batch import halved
from model_trainer.engine.training.same_run import recipe_digest
from tests.unit.engine.training.toys import toy_recipe


@pytest.mark.parametrize(
    ("before", "after"), [((8, 1), (4, 2)), ((6, 3), (3, 6)), ((9, 2), (3, 6)), ((7, 1), (1, 7))]
)
def test_a_micro_batch_shrinks_by_the_smallest_factor_and_the_batch_stays(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    recipe = toy_recipe(batch_size=before[0], gradient_accumulation_steps=before[1])
    smaller = halved(recipe)
    assert smaller is not None
    assert (smaller.batch_size, smaller.gradient_accumulation_steps) == after
    assert recipe_digest(smaller) == recipe_digest(recipe), "its checkpoints are those of the same run"


def test_one_window_cannot_be_cut() -> None:
    assert halved(toy_recipe(batch_size=1, gradient_accumulation_steps=4)) is None
