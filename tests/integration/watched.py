"""Families as they are, whose networks say before each forward pass what they are about to compute."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import Tensor, nn

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.detector import DetectorSpec, WindowPlan
from model_trainer.core.contracts.training import MemoryEstimate, Recipe, TrainSpec
from model_trainer.engine.protocols import (
    Carry,
    Decoder,
    Device,
    LanguageModel,
    LanguageModelBackend,
    TextClassifier,
    TextClassifierBackend,
)
from model_trainer.models.family import DetectorFamily, Family, LanguageFamily
from model_trainer.registry import Registry

BeforeForward = Callable[[nn.Module, Tensor], None]
"""The network and its input [B, T]; may raise."""


def watched(registry: Registry, before_forward: BeforeForward) -> Registry:
    """The same families and tokenizers."""
    families = [_watched(family, before_forward) for family in registry.families().values()]
    return Registry(families=families, tokenizers=registry.tokenizers().values())


def _watched(family: Family, before_forward: BeforeForward) -> Family:
    if isinstance(family, LanguageFamily):
        return WatchedLanguageFamily(family, before_forward)
    assert isinstance(family, DetectorFamily)
    return WatchedDetectorFamily(family, before_forward)


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

    def decoder(self, recipe: Recipe, folder: Path, device: Device) -> Decoder:
        return self._inner.decoder(recipe, folder, device)


class WatchedClassifier(TextClassifier):
    """A network in another one, which adds nothing."""

    def __init__(self, inner: TextClassifier, before_forward: BeforeForward) -> None:
        super().__init__()
        self.inner = inner
        self._before_forward = before_forward

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self._before_forward(self, input_ids)
        return self.inner.forward(input_ids, attention_mask)

    def training_logits(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self._before_forward(self, input_ids)
        return self.inner.training_logits(input_ids, attention_mask)

    def prepare(self, *, tokens: Sequence[str], documents: Callable[[], Iterator[Sequence[int]]]) -> None:
        self.inner.prepare(tokens=tokens, documents=documents)

    def is_matrix_parameter(self, name: str) -> bool:
        return self.inner.is_matrix_parameter(name.removeprefix("inner."))

    def num_embedding_parameters(self) -> int:
        return self.inner.num_embedding_parameters()


class WatchedClassifierBackend:
    """A TextClassifierBackend."""

    def __init__(self, inner: TextClassifierBackend, before_forward: BeforeForward) -> None:
        self._inner = inner
        self._before_forward = before_forward

    def complete(self, spec: DetectorSpec) -> DetectorSpec:
        return self._inner.complete(spec)

    def write_tokenizer(self, spec: DetectorSpec, folder: Path) -> WindowPlan:
        return self._inner.write_tokenizer(spec, folder)

    def build(self, recipe: Recipe) -> TextClassifier:
        return WatchedClassifier(self._inner.build(recipe), self._before_forward)

    def save(self, model: TextClassifier, recipe: Recipe, folder: Path) -> None:
        assert isinstance(model, WatchedClassifier)
        self._inner.save(model.inner, recipe, folder)

    def load(self, recipe: Recipe, folder: Path) -> TextClassifier:
        return WatchedClassifier(self._inner.load(recipe, folder), self._before_forward)


class WatchedFamily:
    """A Family, and of no kind: it has no network."""

    def __init__(self, inner: Family) -> None:
        self._inner = inner

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


class WatchedLanguageFamily(WatchedFamily):
    """A LanguageFamily."""

    def __init__(self, inner: LanguageFamily, before_forward: BeforeForward) -> None:
        super().__init__(inner)
        self._family = inner
        self._before_forward = before_forward

    def backend(self) -> LanguageModelBackend:
        return WatchedBackend(self._family.backend(), self._before_forward)


class WatchedDetectorFamily(WatchedFamily):
    """A DetectorFamily."""

    def __init__(self, inner: DetectorFamily, before_forward: BeforeForward) -> None:
        super().__init__(inner)
        self._family = inner
        self._before_forward = before_forward

    def classifier(self) -> TextClassifierBackend:
        return WatchedClassifierBackend(self._family.classifier(), self._before_forward)
