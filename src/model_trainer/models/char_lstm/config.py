"""Which char-LSTM to train: sizes, and good choices for what the spec leaves out. Torch-free."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from model_trainer.core.compute.machine import Machine
from model_trainer.core.compute.recipes import Defaults, make_recipe, place, refused
from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.training import LanguageModelSpec, MemoryEstimate, Recipe, TrainSpec

if TYPE_CHECKING:
    from model_trainer.engine.protocols import LanguageModelBackend

LONGEST_WINDOW = 4096
"""The backward pass walks through a window token by token, and keeps every one of them."""
_BYTES = 4

_DEFAULTS = Defaults(
    max_seq_len=64,
    batch_size=64,
    cuda_batch_size=64,
    optimizer="muon",
    learning_rate={"adamw": 4e-3, "muon": 4e-3, "sgd": 1.0},
    matrix_learning_rate=0.04,
    weight_decay=0.01,
    schedule="warmup_stable_decay",
    warmup_steps=20,
    gradient_clip_norm=1.0,
    num_epochs=None,
    max_steps=4000,
    carries_state=True,
)
"""Tuned on two CPU cores for minutes on a megabyte of text (benchmarks/recipes.py). In 500 steps Muon on the gates' matrices
reached 1.47 nats a character where AdamW reached 1.90."""


class CharLstmSpec(LanguageModelSpec):
    """A request for a char-LSTM."""

    model_family: Literal["char_lstm"]
    num_layers: Annotated[int, Field(ge=1, le=16)] | None = None
    """LSTM layers on top of one another."""
    hidden_size: Annotated[int, Field(ge=4, le=16_384)] | None = None
    """Width of each layer's state."""
    embedding_size: Annotated[int, Field(ge=1, le=16_384)] | None = None
    """Width of a token's embedding."""


class CharLstmShape(Contract):
    """`shape` of the recipe."""

    num_layers: int
    hidden_size: int
    embedding_size: int
    dropout: float

    @classmethod
    def of(cls, recipe: Recipe) -> "CharLstmShape":
        """The shape a recipe holds."""
        return cls.model_validate(recipe.shape)

    def as_recorded(self) -> dict[str, int | float | str | bool]:
        """As it stands in a recipe."""
        return {
            "num_layers": self.num_layers,
            "hidden_size": self.hidden_size,
            "embedding_size": self.embedding_size,
            "dropout": self.dropout,
        }


class CharLstmFamily:
    """The family's torch-free face."""

    @property
    def name(self) -> str:
        """char_lstm."""
        return "char_lstm"

    @property
    def title(self) -> str:
        """One line for people."""
        return "Char-LSTM: a recurrent network that reads character by character and carries its state along"

    @property
    def spec(self) -> type[TrainSpec]:
        """The request body."""
        return CharLstmSpec

    def supported_tokenizers(self) -> tuple[str, ...]:
        """Characters alone: that is what the family is for, and its head would be most of the model otherwise."""
        return ("char",)

    def example(self) -> JsonObject:
        """A request body that works once its tokenizer_id is a real one."""
        return {
            "model_family": "char_lstm",
            "num_layers": 2,
            "hidden_size": 256,
            "corpus_path": "my-corpus",
            "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB",
            "max_steps": 1000,
            "seed": 42,
            "metadata": {"project": "first steps"},
        }

    def resolve(self, spec: TrainSpec, machine: Machine, *, vocab_size: int) -> Recipe:
        """Every choice made for this machine; raises CONFIG_INVALID, DEVICE_UNAVAILABLE."""
        if not isinstance(spec, CharLstmSpec):
            raise refused("model_family", "This is not a request for char_lstm.")
        placement = place(spec, machine)
        recipe = make_recipe(
            spec,
            placement,
            defaults=_DEFAULTS,
            shape=_shape(spec).as_recorded(),
            vocab_size=vocab_size,
        )
        if recipe.max_seq_len > LONGEST_WINDOW:
            message = f"char_lstm carries its state from window to window: {LONGEST_WINDOW} tokens in one are the most."
            raise refused("max_seq_len", message)
        return recipe

    def estimate(self, recipe: Recipe) -> MemoryEstimate:
        """Weights, gradients and moments exactly; activations of one micro-batch as what the backward pass keeps."""
        shape = CharLstmShape.of(recipe)
        hidden = shape.hidden_size
        inputs = [shape.embedding_size, *[hidden] * (shape.num_layers - 1)]
        matrices = sum(4 * hidden * (size + hidden) for size in inputs)
        biases = 8 * hidden * shape.num_layers
        ends = recipe.vocab_size * (shape.embedding_size + hidden + 1)
        parameters = matrices + biases + ends
        moments = {"adamw": 2 * parameters, "muon": 2 * parameters - matrices, "sgd": parameters}[
            recipe.optimizer
        ]
        # Per token and layer: four gates, the cell and its tanh, the output; then logits, softmax and its gradient.
        kept = shape.num_layers * 7 * hidden + 3 * recipe.vocab_size
        return MemoryEstimate(
            num_parameters=parameters,
            weights=_BYTES * parameters,
            gradients=_BYTES * parameters,
            optimizer=_BYTES * moments,
            activations=_BYTES * recipe.batch_size * recipe.max_seq_len * kept,
        )

    def backend(self) -> "LanguageModelBackend":
        """Imports torch and gives the network."""
        from model_trainer.models.char_lstm.backend import BACKEND

        return BACKEND


def _shape(spec: CharLstmSpec) -> CharLstmShape:
    hidden_size = spec.hidden_size or 256
    return CharLstmShape(
        num_layers=spec.num_layers or 2,
        hidden_size=hidden_size,
        embedding_size=spec.embedding_size or min(hidden_size, 128),
        dropout=0.2 if spec.dropout is None else spec.dropout,
    )
