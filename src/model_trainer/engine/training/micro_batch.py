"""Another cut of the same batch, for a machine whose memory the present one does not fit."""

from model_trainer.core.contracts.training import Recipe


def halved(recipe: Recipe) -> Recipe | None:
    """`recipe` with half as many windows in a micro-batch and twice as many micro-batches, so with the same steps.

    An odd batch is cut by its smallest prime factor. None when a micro-batch is one window already.
    """
    size = recipe.batch_size
    factor = next((divisor for divisor in range(2, size + 1) if size % divisor == 0), None)
    if factor is None:
        return None
    cut: dict[str, object] = {
        "batch_size": size // factor,
        "gradient_accumulation_steps": recipe.gradient_accumulation_steps * factor,
    }
    return recipe.model_copy(update=cut)
