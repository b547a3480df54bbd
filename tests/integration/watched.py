"""Families as they are, whose networks say before each forward pass what they are about to compute."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.training import MemoryEstimate, Recipe, TrainSpec
from model_trainer.engine.protocols import Carry, LanguageModel, LanguageModelBackend
from model_trainer.models.family import Family
from model_trainer.registry import Registry

BeforeForward = Callable[[LanguageModel, Tensor], None]
"""The network and its input [B, T]; may raise."""


def watched(registry: Registry, before_forward: BeforeForward) -> Registry:
    """The same families and tokenizers."""
    families = [WatchedFamily(family, before_forward) for family in registry.families().values()]
    return Registry(families=families, tokenizers=registry.tokenizers().values())


class WatchedModel(LanguageModel):
    """A network in another one, which adds nothing."""

    def __init__(self, inner: LanguageModel, before_forward: BeforeForward) -> None:
        super().__init__()
        self.inner = inner
        self._before_forward = before_forward

    def next_token_logits(self, tokens_BT: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        self._before_forward(self, tokens_BT)
        return self.inner.next_token_logits(tokens_BT, carry)

    def is_matrix_parameter(self, name: str) -> bool:
        return self.inner.is_matrix_parameter(name.removeprefix("inner."))


class WatchedBackend:
    """A LanguageModelBackend."""

    def __init__(self, inner: LanguageModelBackend, before_forward: BeforeForward) -> None:
        self._inner = inner
        self._before_forward = before_forward

    def build(self, recipe: Recipe) -> LanguageModel:
        return WatchedModel(self._inner.build(recipe), self._before_forward)

    def save(self, model: LanguageModel, recipe: Recipe, folder: Path, *, end_of_text_id: int | None) -> None:
        assert isinstance(model, WatchedModel)
        self._inner.save(model.inner, recipe, folder, end_of_text_id=end_of_text_id)

    def load(self, recipe: Recipe, folder: Path) -> LanguageModel:
        return WatchedModel(self._inner.load(recipe, folder), self._before_forward)


class WatchedFamily:
    """A Family."""

    def __init__(self, inner: Family, before_forward: BeforeForward) -> None:
        self._inner = inner
        self._before_forward = before_forward

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def title(self) -> str:
        return self._inner.title

    @property
    def spec(self) -> type[TrainSpec]:
        return self._inner.spec

    def supported_tokenizers(self) -> tuple[str, ...]:
        return self._inner.supported_tokenizers()

    def example(self) -> JsonObject:
        return self._inner.example()

    def resolve(self, spec: TrainSpec, machine: Machine, *, vocab_size: int) -> Recipe:
        return self._inner.resolve(spec, machine, vocab_size=vocab_size)

    def estimate(self, recipe: Recipe) -> MemoryEstimate:
        return self._inner.estimate(recipe)

    def backend(self) -> LanguageModelBackend:
        return WatchedBackend(self._inner.backend(), self._before_forward)
