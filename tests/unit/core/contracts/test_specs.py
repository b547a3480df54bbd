"""What a caller may ask for: fields that belong together, and none that do not."""

import json
from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from model_trainer.core.contracts.base import as_json, dump_json
from model_trainer.core.contracts.detector import DetectorSpec
from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.contracts.training import (
    EarlyStoppingSpec,
    LanguageModelSpec,
    MemoryEstimate,
    OptimizerSpec,
    ScheduleSpec,
    TrainSpec,
)

TRAIN: dict[str, object] = {
    "model_family": "gpt2",
    "corpus_path": "shelf",
    "tokenizer_id": "01JD8Z3M6Q4T7V9XW2Y5A1B3C4",
}
TOKENIZER: dict[str, object] = {"method": "bpe", "corpus_path": "shelf"}


def train(**fields: object) -> LanguageModelSpec:
    return LanguageModelSpec.model_validate_json(_json({**TRAIN, **fields}))


def tokenizer(**fields: object) -> TokenizerSpec:
    return TokenizerSpec.model_validate_json(_json({**TOKENIZER, **fields}))


def _json(body: Mapping[str, object]) -> str:
    return json.dumps(body)


@pytest.mark.parametrize("spec", [train(), train(max_steps=3, dropout=0), tokenizer(), tokenizer(threads=2)])
def test_a_spec_is_the_same_after_a_trip_through_json(spec: LanguageModelSpec | TokenizerSpec) -> None:
    assert type(spec).model_validate_json(dump_json(as_json(spec))) == spec


@pytest.mark.parametrize(
    "fields",
    [
        {"num_epochs": 1, "max_steps": 10},
        {"holdout_fraction": 0.5, "test_fraction": 0.4},
        {"holdout_fraction": 0},
        {"learning_rate": 0.1},
        {"seed": -1},
        {"seed": 2**63},
        {"seed": 1.5},
        {"seed": "42"},
        {"batch_size": 0},
        {"batch_size": 10**30},
        {"max_seq_len": 1},
        {"dropout": 1},
        {"num_epochs": 0},
        {"num_epochs": float("nan")},
        {"num_epochs": float("inf")},
        {"tokenizer_id": "../models"},
        {"corpus_path": ""},
        {"corpus_path": "x" * 5000},
        {"device": "tpu"},
        {"precision": "int8"},
        {"metadata": {f"k{number}": "v" for number in range(17)}},
        {"metadata": {"": "v"}},
        {"metadata": {"k": "v" * 513}},
        {"metadata": {"k": 1}},
        {"user_id": "two words"},
        {"user_id": ""},
        {"sample_prompts": ["x"] * 17},
        {"early_stopping": {"patience": 0}},
        {"optimizer": {"name": "adamw", "momentum": 0.9}},
        {"optimizer": {"name": "sgd", "matrix_learning_rate": 0.02}},
        {"optimizer": {"name": "adam"}},
        {"optimizer": {"learning_rate": -1e-3}},
        {"schedule": {"decay_fraction": 0}},
        {"checkpoint": {"keep_last": 0}},
    ],
)
def test_a_training_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        train(**fields)


def test_one_of_two_lengths_is_enough() -> None:
    assert train(num_epochs=0.5).num_epochs == 0.5
    assert train(max_steps=7).max_steps == 7
    assert train().num_epochs is None


def test_an_optimizer_takes_the_fields_that_are_its_own() -> None:
    assert OptimizerSpec(name="muon", matrix_learning_rate=0.02, momentum=0.95).momentum == 0.95
    assert OptimizerSpec(name="sgd", momentum=0.9).name == "sgd"
    assert OptimizerSpec(matrix_learning_rate=0.02).name is None
    assert ScheduleSpec().final_fraction == 0.0


@pytest.mark.parametrize(
    ("spec", "mode"),
    [
        (EarlyStoppingSpec(), "min"),
        (EarlyStoppingSpec(metric="accuracy"), "max"),
        (EarlyStoppingSpec(metric="accuracy", mode="min"), "min"),
        (EarlyStoppingSpec(metric="bits_per_byte", mode="max"), "max"),
    ],
)
def test_better_has_a_direction(spec: EarlyStoppingSpec, mode: str) -> None:
    assert spec.resolved_mode() == mode


def test_a_training_is_split_in_three_and_a_tokenizer_in_two() -> None:
    plan = train(holdout_fraction=0.2, test_fraction=0.1, split_by="file", seed=7).split_plan()
    assert (plan.split_by, plan.validation_fraction, plan.test_fraction, plan.seed) == ("file", 0.2, 0.1, 7)

    plan = tokenizer(holdout_fraction=0.3, encoding_errors="replace").split_plan()
    assert (plan.validation_fraction, plan.test_fraction, plan.encoding_errors) == (0.3, 0.0, "replace")


@pytest.mark.parametrize(
    "fields",
    [
        {"special_tokens": ["<|a|>", "<|a|>"]},
        {"special_tokens": ["<|a|>", "<|b|>"], "vocab_size": 2},
        {"special_tokens": [""]},
        {"special_tokens": ["word"]},
        {"special_tokens": [f"<{number}x>" for number in range(257)]},
        {"vocab_size": 1},
        {"vocab_size": 10**7},
        {"min_frequency": 0},
        {"holdout_fraction": 0.6},
        {"normalisation": "NFC"},
        {"threads": 0},
        {"vocabulary": 10},
    ],
)
def test_a_tokenizer_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        tokenizer(**fields)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"split": "test", "corpus_path": "shelf"},
        {"split": "all"},
        {"split": "test", "compare_to_run_id": "x" * 26},
    ],
)
def test_an_evaluation_is_of_one_text(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EvaluateSpec.model_validate(body)


def test_an_evaluation_is_of_a_split_or_of_text_from_outside() -> None:
    assert EvaluateSpec(split="test").corpus_path is None
    assert EvaluateSpec(corpus_path="shelf").split is None


def test_memory_is_the_sum_of_its_parts() -> None:
    estimate = MemoryEstimate(num_parameters=1, weights=2, gradients=4, optimizer=8, activations=16)

    assert estimate.total() == 30


def test_a_spec_says_which_tokenizer_it_was_ordered_with() -> None:
    assert train().known_tokenizer_id == "01JD8Z3M6Q4T7V9XW2Y5A1B3C4"
    with pytest.raises(NotImplementedError):
        _ = TrainSpec(model_family="gpt2").known_tokenizer_id


def test_a_detectors_tokenizer_is_named_or_made_in_a_size_not_both() -> None:
    order: dict[str, object] = {"model_family": "any", "data_paths": ["a.csv"], "from_scratch": True}
    tokenizer_id = "01JD8Z3M6Q4T7V9XW2Y5A1B3C4"
    spec = DetectorSpec.model_validate_json(_json({**order, "tokenizer_id": tokenizer_id}))
    assert spec.known_tokenizer_id == tokenizer_id
    with pytest.raises(ValueError, match="not both"):
        DetectorSpec.model_validate_json(_json({**order, "tokenizer_id": tokenizer_id, "vocab_size": 400}))
