from dataclasses import dataclass
from typing import Literal

import pytest

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.contracts.training import LanguageModelSpec, MemoryEstimate, Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.protocols import LanguageModelBackend
from model_trainer.registry import Registry
from model_trainer.tokenizers.kind import TokenizerBackend

TOKENIZER_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


class ToySpec(LanguageModelSpec):
    model_family: Literal["toy"]
    width: int = 4


@dataclass(frozen=True)
class ToyFamily:
    name: str = "toy"
    title: str = "A toy"
    spec: type[TrainSpec] = ToySpec

    def supported_tokenizers(self) -> tuple[str, ...]:
        return ("letters",)

    def example(self) -> JsonObject:
        return {}

    def resolve(self, spec: TrainSpec, machine: Machine, *, vocab_size: int) -> Recipe:
        raise NotImplementedError

    def estimate(self, recipe: Recipe) -> MemoryEstimate:
        raise NotImplementedError

    def backend(self) -> LanguageModelBackend:
        raise NotImplementedError


class LettersSpec(TokenizerSpec):
    method: Literal["letters"]


@dataclass(frozen=True)
class Letters:
    name: str = "letters"
    title: str = "Letters"
    spec: type[TokenizerSpec] = LettersSpec
    requires: tuple[str, ...] = ("json", "no_such_module_anywhere")
    extra: str = "worker"

    def example(self) -> JsonObject:
        return {}

    def backend(self) -> TokenizerBackend:
        raise NotImplementedError


@dataclass
class Point:
    """An entry point."""

    value: str
    found: object
    name: str = "plug"

    def load(self) -> object:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def registry() -> Registry:
    return Registry(families=[ToyFamily()], tokenizers=[Letters()])


def test_our_own_folders_are_found_sorted_by_name() -> None:
    registry = Registry.discover()
    assert list(registry.families()) == sorted(registry.families())
    assert {"gpt2", "char_lstm"} <= set(registry.families())
    assert {"bpe", "char", "sentencepiece"} <= set(registry.tokenizers())


def test_names_lead_to_families_and_tokenizers(registry: Registry) -> None:
    assert registry.family("toy").title == "A toy"
    assert registry.tokenizer("letters").title == "Letters"


def test_an_unknown_family_is_refused_with_the_known_ones(registry: Registry) -> None:
    with pytest.raises(AppError) as caught:
        registry.family("gpt9")
    assert caught.value.code is ErrorCode.FAMILY_UNKNOWN
    assert caught.value.faults[0].pointer == "/model_family"
    assert "toy" in caught.value.faults[0].message


def test_an_unknown_tokenizer_is_refused_with_the_known_ones(registry: Registry) -> None:
    with pytest.raises(AppError) as caught:
        registry.tokenizer("words")
    assert caught.value.code is ErrorCode.TOKENIZER_UNKNOWN
    assert "letters" in caught.value.faults[0].message


def test_missing_modules_are_named(registry: Registry) -> None:
    assert registry.missing_modules(registry.tokenizer("letters")) == ("no_such_module_anywhere",)


def test_a_request_is_parsed_by_the_family_it_names(registry: Registry) -> None:
    spec = registry.parse_train_spec(
        f'{{"model_family": "toy", "corpus_path": "a.txt", "tokenizer_id": "{TOKENIZER_ID}", "width": 8}}'
    )
    assert isinstance(spec, ToySpec)
    assert spec.width == 8


def test_a_request_is_parsed_by_the_method_it_names(registry: Registry) -> None:
    spec = registry.parse_tokenizer_spec(b'{"method": "letters", "corpus_path": "a.txt"}')
    assert isinstance(spec, LettersSpec)


@pytest.mark.parametrize("body", ['{"corpus_path": "x"}', '{"model_family": 3}'])
def test_a_request_without_a_family_names_the_field(registry: Registry, body: str) -> None:
    with pytest.raises(AppError) as caught:
        registry.parse_train_spec(body)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert caught.value.faults[0].pointer == "/model_family"


def test_wrong_fields_are_named_by_json_pointer(registry: Registry) -> None:
    with pytest.raises(AppError) as caught:
        registry.parse_train_spec('{"model_family": "toy", "optimizer": {"learning_rate": -1}, "depth": 2}')
    pointers = {fault.pointer for fault in caught.value.faults}
    assert pointers == {"/corpus_path", "/tokenizer_id", "/optimizer/learning_rate", "/depth"}
    with pytest.raises(AppError) as caught:
        registry.parse_tokenizer_spec('{"method": "letters"}')
    assert [fault.pointer for fault in caught.value.faults] == ["/corpus_path"]


def test_two_plug_ins_of_one_name_are_refused() -> None:
    with pytest.raises(AppError, match="Two plug-ins are called 'toy'"):
        Registry(families=[ToyFamily(), ToyFamily()], tokenizers=[])


def _discover(group: str, point: Point) -> Registry:
    return Registry.discover(points=lambda asked: [point] if asked == group else [])


def test_other_distributions_enter_by_the_same_door() -> None:
    found = _discover("model_trainer.models", Point(value="pkg:FAMILY", found=ToyFamily()))
    assert found.family("toy").title == "A toy"
    assert "gpt2" in found.families()
    found = _discover("model_trainer.tokenizers", Point(value="pkg:TOKENIZER", found=Letters()))
    assert found.tokenizer("letters").title == "Letters"


def test_a_plug_in_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(AppError, match=r"plug \(pkg:X\) cannot be loaded"):
        _discover("model_trainer.models", Point(value="pkg:X", found=ImportError("no pkg")))


@pytest.mark.parametrize("group", ["model_trainer.models", "model_trainer.tokenizers"])
def test_a_plug_in_without_a_face_is_refused(group: str) -> None:
    with pytest.raises(AppError, match="does not offer what a plug-in"):
        _discover(group, Point(value="pkg:X", found=None))
