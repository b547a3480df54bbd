"""What a family must answer. Torch-free; `backend()` and `classifier()` alone import torch."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.training import MemoryEstimate, Recipe, TrainSpec

if TYPE_CHECKING:
    from model_trainer.engine.protocols import LanguageModelBackend, TextClassifierBackend


@runtime_checkable
class Family(Protocol):
    """The torch-free face: enough for the API's schema, validators and recipes."""

    @property
    def name(self) -> str:
        """As in `model_family`."""
        ...

    @property
    def title(self) -> str:
        """One line for people."""
        ...

    @property
    def spec(self) -> type[TrainSpec]:
        """The request body."""
        ...

    def supported_tokenizers(self) -> tuple[str, ...]:
        """Tokenizer methods whose tokenizers fit."""
        ...

    def example(self) -> JsonObject:
        """A request body that works once its tokenizer_id is a real one."""
        ...

    def resolve(self, spec: TrainSpec, machine: Machine, *, vocab_size: int) -> Recipe:
        """Every choice made for this machine. Raises CONFIG_INVALID for sizes that do not fit together,
        DEVICE_UNAVAILABLE for a device that is not there."""
        ...

    def estimate(self, recipe: Recipe) -> MemoryEstimate:
        """What training needs at least, before anything is allocated."""
        ...


@runtime_checkable
class LanguageFamily(Family, Protocol):
    """A family whose networks predict the next token; its spec is a LanguageModelSpec."""

    def backend(self) -> "LanguageModelBackend":
        """Imports torch and gives the family's network."""
        ...


@runtime_checkable
class DetectorFamily(Family, Protocol):
    """A family whose networks judge labelled texts; its spec is a DetectorSpec."""

    def classifier(self) -> "TextClassifierBackend":
        """Imports torch and gives the family's network."""
        ...
