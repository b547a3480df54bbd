"""Which GPT-2 to train: sizes, what fits together, and good choices for what the spec leaves out. Torch-free."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from model_trainer.core.compute.machine import Machine
from model_trainer.core.compute.recipes import Defaults, make_recipe, place, refused
from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.training import (
    LanguageModelSpec,
    MemoryEstimate,
    Precision,
    Recipe,
    TrainSpec,
)

if TYPE_CHECKING:
    from model_trainer.engine.protocols import LanguageModelBackend

ModelSize = Literal["tiny", "small", "medium", "large", "xl"]

LONGEST_WINDOW = 16_384
"""Each position has learned weights; further ones would hardly ever be trained."""
_CUDA_BATCH_SIZE = 32
_BYTES = 4
"""Weights, gradients and moments are fp32 in every precision."""


class Gpt2Spec(LanguageModelSpec):
    """A request for a GPT-2. Sizes left out are those of `model_size`."""

    model_family: Literal["gpt2"]
    model_size: ModelSize | None = None
    """tiny (0.8M parameters without embeddings; the default), small (124M with GPT-2's vocabulary), medium (355M), large
    (774M), xl (1.56B)."""
    n_layer: Annotated[int, Field(ge=1, le=512)] | None = None
    """Transformer blocks."""
    n_head: Annotated[int, Field(ge=1, le=512)] | None = None
    """Attention heads of a block; must divide n_embd."""
    n_embd: Annotated[int, Field(ge=8, le=65_536)] | None = None
    """Width of the residual stream."""


class Gpt2Shape(Contract):
    """`shape` of the recipe."""

    n_layer: int
    n_head: int
    n_embd: int
    dropout: float

    @classmethod
    def of(cls, recipe: Recipe) -> "Gpt2Shape":
        """The shape a recipe holds."""
        return cls.model_validate(recipe.shape)

    def as_recorded(self) -> dict[str, int | float | str | bool]:
        """As it stands in a recipe."""
        return {
            "n_layer": self.n_layer,
            "n_head": self.n_head,
            "n_embd": self.n_embd,
            "dropout": self.dropout,
        }


PRESETS: dict[ModelSize, Gpt2Shape] = {
    "tiny": Gpt2Shape(n_layer=4, n_head=4, n_embd=128, dropout=0.0),
    "small": Gpt2Shape(n_layer=12, n_head=12, n_embd=768, dropout=0.0),
    "medium": Gpt2Shape(n_layer=24, n_head=16, n_embd=1024, dropout=0.0),
    "large": Gpt2Shape(n_layer=36, n_head=20, n_embd=1280, dropout=0.0),
    "xl": Gpt2Shape(n_layer=48, n_head=25, n_embd=1600, dropout=0.0),
}
"""Radford et al. 2019, table 2, and a tiny one for a laptop."""

_LEARNING_RATES: dict[ModelSize, float] = {
    "tiny": 4e-3,
    "small": 6e-4,
    "medium": 3e-4,
    "large": 2.5e-4,
    "xl": 2e-4,
}
"""AdamW's. From small up those of Brown et al. 2020 (arXiv 2005.14165), table 2.1, for models of that size."""


class Gpt2Family:
    """The family's torch-free face."""

    @property
    def name(self) -> str:
        """gpt2."""
        return "gpt2"

    @property
    def title(self) -> str:
        """One line for people."""
        return "GPT-2: a transformer that predicts the next token; loads in transformers as GPT2LMHeadModel"

    @property
    def spec(self) -> type[TrainSpec]:
        """The request body."""
        return Gpt2Spec

    def supported_tokenizers(self) -> tuple[str, ...]:
        """All kinds: tokens are numbers to it."""
        return ("bpe", "sentencepiece", "char")

    def example(self) -> JsonObject:
        """A request body that works once its tokenizer_id is a real one."""
        return {
            "model_family": "gpt2",
            "model_size": "tiny",
            "corpus_path": "my-corpus",
            "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB",
            "max_seq_len": 128,
            "max_steps": 1000,
            "seed": 42,
            "metadata": {"project": "first steps"},
        }

    def resolve(self, spec: TrainSpec, machine: Machine, *, vocab_size: int) -> Recipe:
        """Every choice made for this machine; raises CONFIG_INVALID, DEVICE_UNAVAILABLE."""
        if not isinstance(spec, Gpt2Spec):
            raise refused("model_family", "This is not a request for gpt2.")
        shape = _shape(spec)
        placement = place(spec, machine)
        recipe = make_recipe(
            spec,
            placement,
            defaults=_tiny() if _is_small(shape) else _published(shape),
            shape=shape.as_recorded(),
            vocab_size=vocab_size,
        )
        if recipe.max_seq_len > LONGEST_WINDOW:
            raise refused(
                "max_seq_len", f"gpt2 has learned positions: ask for at most {LONGEST_WINDOW} tokens."
            )
        return recipe

    def estimate(self, recipe: Recipe) -> MemoryEstimate:
        """Weights, gradients and moments exactly; activations of one micro-batch as what the backward pass keeps."""
        shape = Gpt2Shape.of(recipe)
        width = shape.n_embd
        matrices = shape.n_layer * 12 * width**2
        vectors = shape.n_layer * 13 * width + 2 * width
        parameters = matrices + vectors + (recipe.vocab_size + recipe.max_seq_len) * width
        moments = {"adamw": 2 * parameters, "muon": 2 * parameters - matrices, "sgd": parameters}[
            recipe.optimizer
        ]
        return MemoryEstimate(
            num_parameters=parameters,
            weights=_BYTES * parameters,
            gradients=_BYTES * parameters,
            optimizer=_BYTES * moments,
            activations=_activations(recipe, shape),
        )

    def backend(self) -> "LanguageModelBackend":
        """Imports torch and gives the network."""
        from model_trainer.models.gpt2.backend import BACKEND

        return BACKEND


def _shape(spec: Gpt2Spec) -> Gpt2Shape:
    preset = PRESETS[spec.model_size or "tiny"]
    n_head, n_embd = spec.n_head or preset.n_head, spec.n_embd or preset.n_embd
    if n_embd % n_head:
        field = "n_head" if spec.n_head is not None else "n_embd"
        raise refused(
            field, f"n_embd ({n_embd}) must be a multiple of n_head ({n_head}): name both so that they fit."
        )
    return Gpt2Shape(
        n_layer=spec.n_layer or preset.n_layer,
        n_head=n_head,
        n_embd=n_embd,
        dropout=preset.dropout if spec.dropout is None else spec.dropout,
    )


def _tiny() -> Defaults:
    """Tuned on two CPU cores for a few minutes on a megabyte of text; see benchmarks/recipes.py."""
    return Defaults(
        max_seq_len=128,
        batch_size=16,
        cuda_batch_size=_CUDA_BATCH_SIZE,
        optimizer="muon",
        learning_rate={"adamw": _LEARNING_RATES["tiny"], "muon": _LEARNING_RATES["tiny"], "sgd": 0.1},
        matrix_learning_rate=0.02,
        weight_decay=0.1,
        schedule="warmup_stable_decay",
        warmup_steps=20,
        gradient_clip_norm=1.0,
        num_epochs=None,
        max_steps=3000,
        carries_state=False,
    )


def _published(shape: Gpt2Shape) -> Defaults:
    """What models from 124M parameters up are usually trained with; on the CPU few windows, for each is a thousand tokens."""
    size = max((name for name in PRESETS if PRESETS[name].n_embd <= shape.n_embd), key=_width)
    learning_rate = _LEARNING_RATES[size]
    return Defaults(
        max_seq_len=1024,
        batch_size=4,
        cuda_batch_size=_CUDA_BATCH_SIZE,
        optimizer="adamw",
        learning_rate={"adamw": learning_rate, "muon": learning_rate, "sgd": 0.1},
        matrix_learning_rate=0.02,
        weight_decay=0.1,
        schedule="cosine",
        warmup_steps=200,
        gradient_clip_norm=1.0,
        num_epochs=1.0,
        max_steps=None,
        carries_state=False,
    )


def _width(size: ModelSize) -> int:
    return PRESETS[size].n_embd


def _is_small(shape: Gpt2Shape) -> bool:
    return shape.n_embd < PRESETS["small"].n_embd


def _activations(recipe: Recipe, shape: Gpt2Shape) -> int:
    """Per token and block: two normalised inputs and their sources, queries, keys and values, the attention's output, and
    both sides of the activation function, 16 widths in all; then logits, their softmax and its gradient."""
    tokens = recipe.batch_size * recipe.max_seq_len
    bytes_each = _bytes_each(recipe.precision)
    return tokens * (
        shape.n_layer * 16 * shape.n_embd * bytes_each + recipe.vocab_size * (bytes_each + 2 * _BYTES)
    )


def _bytes_each(precision: Precision) -> int:
    return 4 if precision == "fp32" else 2
