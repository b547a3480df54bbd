"""A family of detectors without torch, labelled files for it, and what its jobs would leave."""

from typing import Literal

from starlette.testclient import TestClient

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.detector import DetectorSpec
from model_trainer.core.contracts.training import MemoryEstimate, Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.engine.protocols import TextClassifierBackend
from tests.unit.api.service import GIB, Service, ToyFamily, ToySpec

ROWS = "".join(
    f"{text} number {row} and some words more,{label}\n"
    for row in range(20)
    for text, label in (("an evening by the sea", "human"), ("in conclusion", "ai"))
)
FILES: dict[str, str | bytes] = {
    "texts.csv": f"text,label\n{ROWS}",
    "shelf/a.csv": f"text,label\n{ROWS}",
    "shelf/b.jsonl": '{"text": "as it was", "label": "human"}\n{"text": "as it could be", "label": "ai"}\n',
    "demo/a.txt": "The quick brown fox jumps over the lazy dog.\n" * 400,
}


class ToyDetectorSpec(DetectorSpec):
    """Detectors of one kind."""

    model_family: Literal["toy_detector"]


class ToyDetector:
    """Needs 1 GiB a layer, and 1 MiB for each entry of the vocabulary."""

    name = "toy_detector"
    title = "A toy that judges"
    spec: type[TrainSpec] = ToyDetectorSpec

    def supported_tokenizers(self) -> tuple[str, ...]:
        return ("bpe", "char")

    def example(self) -> JsonObject:
        return {"model_family": "toy_detector", "data_paths": ["texts.csv"], "from_scratch": True}

    def resolve(self, spec: TrainSpec, machine: Machine, *, vocab_size: int) -> Recipe:
        assert isinstance(spec, ToyDetectorSpec)
        toy = ToySpec(corpus_path="demo", tokenizer_id="01J00000000000000000000000", device=spec.device)
        recipe = ToyFamily().resolve(toy, machine, vocab_size=vocab_size)
        hub = "" if spec.from_scratch else "hub_"
        if vocab_size + (spec.layers or 2) < (spec.min_params or 0):
            raise AppError(
                ErrorCode.CONFIG_INVALID, "Too few.", faults=[FieldFault("/min_params", "too few")]
            )
        shape: dict[str, int | float | str | bool] = {
            f"{hub}layers": spec.layers or 2,
            "from_scratch": spec.from_scratch,
            **({"model_name": spec.model_name} if spec.model_name else {}),
        }
        return recipe.model_copy(update={"model_family": "toy_detector", "shape": shape})

    def estimate(self, recipe: Recipe) -> MemoryEstimate:
        layers = recipe.shape.get("layers", recipe.shape.get("hub_layers"))
        assert isinstance(layers, int)
        return MemoryEstimate(
            num_parameters=layers * 1000,
            weights=layers * GIB,
            gradients=recipe.vocab_size << 20,
            optimizer=0,
            activations=0,
        )

    def classifier(self) -> TextClassifierBackend:
        raise NotImplementedError


def detectors(files: dict[str, str | bytes] | None = None) -> Service:
    """A service with a family of detectors beside one of language models."""
    return Service(files={**FILES, **(files or {})}, families=(ToyFamily(), ToyDetector()))


def body(**more: object) -> dict[str, object]:
    """An order that works."""
    return {
        "model_family": "toy_detector",
        "data_paths": ["texts.csv"],
        "from_scratch": True,
        "vocab_size": 500,
        **more,
    }


def trained(client: TestClient, service: Service, **more: object) -> str:
    """A completed detector."""
    answer = client.post("/runs/train", json=body(**more))
    assert answer.status_code == 202, answer.text
    run_id = str(answer.json()["run_id"])
    service.finished(run_id)
    return run_id
