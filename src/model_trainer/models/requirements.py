"""Whether tokenizer, family and memory go together: asked by the API when it can, by the worker always."""

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.training import MemoryEstimate, Recipe
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.models.family import Family

MEMORY_SHARE = 0.9
"""Of the machine's memory that a training may plan for; the rest is the operating system's and the data's."""


def check_fits(family: Family, method: str) -> None:
    """Raises TOKENIZER_MISMATCH when the family cannot read this kind of tokenizer."""
    supported = family.supported_tokenizers()
    if method not in supported:
        fault = FieldFault(
            "/tokenizer_id", f"{family.name} takes tokenizers of method: {', '.join(supported)}"
        )
        message = f"The tokenizer's method is {method!r}; {family.name} takes {', '.join(supported)}."
        raise AppError(ErrorCode.TOKENIZER_MISMATCH, message, faults=[fault])


def check_memory(estimate: MemoryEstimate, recipe: Recipe, machine: Machine) -> None:
    """Raises MODEL_TOO_LARGE before anything is allocated; a machine that cannot tell its memory passes."""
    available = machine.cuda_memory_bytes if recipe.device == "cuda" else machine.memory_bytes
    needed = estimate.total()
    if available > 0 and needed > MEMORY_SHARE * available:
        faults = [
            FieldFault(
                "/batch_size", "a smaller batch needs less memory; raise gradient_accumulation_steps to match"
            ),
            FieldFault("/max_seq_len", "shorter windows need less memory"),
        ]
        if estimate.activations < needed / 2:
            faults.insert(0, _size_fault(recipe))
        message = (
            f"Training needs at least {needed / 2**30:.1f} GiB ({estimate.num_parameters:,} parameters) and the "
            f"{recipe.device} has {available / 2**30:.1f} GiB. Choose a smaller model, batch or window."
        )
        facts = {"needed_bytes": needed, "available_bytes": available}
        raise AppError(ErrorCode.MODEL_TOO_LARGE, message, facts=facts, faults=faults)


def _size_fault(recipe: Recipe) -> FieldFault:
    """Names the family's sizes: batch and window alone do not help where weights take most of the memory."""
    sizes = ", ".join(name for name, value in recipe.shape.items() if isinstance(value, int))
    return FieldFault("", f"most of it is for weights: ask for a smaller {recipe.model_family} ({sizes})")
