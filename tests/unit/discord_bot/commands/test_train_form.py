"""A form becomes the body of a request, whatever the family; what cannot stand is named, with the way out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from model_trainer.client.views import KindView
from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.detector import DetectorSpec
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.commands.family_schema import read_schema
from model_trainer.discord_bot.commands.train_form import TrainForm, spec_of
from model_trainer.models.family import Family
from model_trainer.models.gpt2 import FAMILY as GPT2
from model_trainer.models.text_detector import FAMILY as TEXT_DETECTOR
from tests.unit.discord_bot.desk import OWNER_ID, WalnutFamily, kind_of

TOKENIZER_ID = new_ulid()
FORM = TrainForm(family="gpt2", corpus="books", tokenizer=TOKENIZER_ID)


def spec(form: TrainForm, family: Family = GPT2) -> JsonObject:
    return spec_of(form, read_schema(kind_of(family)), owner_id=OWNER_ID)


def faults(form: TrainForm, family: Family = GPT2) -> dict[str, str]:
    """Reasons by option."""
    with pytest.raises(AppError) as caught:
        spec(form, family)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    return {fault.pointer: fault.message for fault in caught.value.faults}


def test_a_short_form_is_a_short_request_of_its_owner() -> None:
    assert spec(FORM) == {
        "model_family": "gpt2",
        "corpus_path": "books",
        "tokenizer_id": TOKENIZER_ID,
        "user_id": str(OWNER_ID),
    }


def test_every_option_finds_its_field() -> None:
    form = replace(
        FORM,
        name="my *run*",
        num_epochs=2.5,
        batch_size=4,
        max_seq_len=64,
        learning_rate=0.01,
        device="cpu",
        precision="fp32",
        seed=7,
        settings="n_layer=2, optimizer.name=muon, early_stopping={patience: 2}, metadata.team=42",
    )
    body = spec(form)
    assert body == {
        "model_family": "gpt2",
        "corpus_path": "books",
        "tokenizer_id": TOKENIZER_ID,
        "user_id": str(OWNER_ID),
        "metadata": {"name": "my *run*", "team": "42"},
        "num_epochs": 2.5,
        "batch_size": 4,
        "max_seq_len": 64,
        "optimizer": {"learning_rate": 0.01, "name": "muon"},
        "device": "cpu",
        "precision": "fp32",
        "seed": 7,
        "n_layer": 2,
        "early_stopping": {"patience": 2},
    }
    GPT2.spec.model_validate_json(dump_json(body))


def test_steps_find_their_field_too() -> None:
    assert spec(replace(FORM, max_steps=100))["max_steps"] == 100


def test_a_detector_gets_its_texts_and_needs_no_tokenizer() -> None:
    form = TrainForm(
        family="text_detector", corpus="texts.parquet", settings="from_scratch=true, model_name=1e5"
    )
    body = spec(form, TEXT_DETECTOR)
    assert body["data_paths"] == ["texts.parquet"]
    assert body["model_name"] == "1e5"
    read = TEXT_DETECTOR.spec.model_validate_json(dump_json(body))
    assert isinstance(read, DetectorSpec)
    assert read.from_scratch


def test_a_family_of_yesterday_is_asked_for_what_it_needs() -> None:
    form = replace(FORM, family="walnut")
    assert faults(form, WalnutFamily()) == {
        "/rings": "is missing: walnut needs it, give rings=... in settings"
    }
    assert spec(replace(form, settings="rings=4"), WalnutFamily())["rings"] == 4


def test_ids_may_be_pasted_with_spaces_and_in_small_letters() -> None:
    assert spec(replace(FORM, tokenizer=f" {TOKENIZER_ID.lower()} "))["tokenizer_id"] == TOKENIZER_ID


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("n_layers=2", {"/n_layers": "is not a field of gpt2: is n_layer meant?"}),
        ("warmup_steps=2", {"/warmup_steps": "is not a field of gpt2: is schedule.warmup_steps meant?"}),
        ("zzzzqq=2", {"/zzzzqq": "is not a field of gpt2: leave it out"}),
        ("C:/secret.txt=2", {"/settings": "holds a name that no field of gpt2 has"}),
        ("metadata.=x", {"/metadata.": "is not a field of gpt2: is metadata meant?"}),
        ("user_id=7", {"/user_id": "cannot be set here: the bot sets it"}),
        ("model_family=walnut", {"/model_family": "cannot be set here: the bot sets it"}),
        ("n_layer=0", {"/n_layer": "must be a whole number at least 1 and at most 512"}),
        ("n_layer=null, n_head=two", {"/n_head": "must be a whole number at least 1 and at most 512"}),
        ("optimizer.beta1=.nan", {"/optimizer.beta1": "must be a number at least 0 and below 1"}),
        ("seed=1, seed=2", {"/seed": "is given twice"}),
        ("optimizer={name: sgd}, optimizer.beta1=0.5", {"/optimizer.beta1": "is given twice"}),
        ("optimizer.beta1=0.5, optimizer={name: sgd}", {"/optimizer": "is given twice"}),
        ("corpus_path=other", {"/corpus_path": "is given twice"}),
        ("max_steps=3, num_epochs=1", {"/max_steps": "is given beside num_epochs: leave one of them out"}),
        ("seed", {"/settings": "must be of the form key=value, key=value"}),
    ],
)
def test_settings_that_cannot_stand_are_named(settings: str, expected: dict[str, str]) -> None:
    assert faults(replace(FORM, settings=settings)) == expected


def test_options_out_of_range_are_told_the_schemas_bounds() -> None:
    form = replace(FORM, batch_size=0, learning_rate=11.0, device="tpu", name="x" * 513)
    assert faults(form) == {
        "/batch_size": "must be a whole number at least 1 and at most 1,000,000",
        "/learning_rate": "must be a number above 0 and at most 10",
        "/device": "must be one of: auto, cpu, cuda",
        "/name": "must be text of 0 to 512 characters",
    }


def test_a_tokenizer_that_is_none_is_refused_once_and_a_missing_one_is_asked_for() -> None:
    why = "must be a tokenizer's id of 26 characters: choose one that is suggested"
    assert faults(replace(FORM, tokenizer="bpe")) == {"/tokenizer": why}
    why = "is missing: gpt2 needs it, choose one that is suggested"
    assert faults(replace(FORM, tokenizer=None)) == {"/tokenizer": why}


def test_a_corpus_that_is_refused_is_not_missing_as_well() -> None:
    assert faults(replace(FORM, corpus="")) == {"/corpus": "must be text of 1 to 4,096 characters"}


def test_options_that_a_family_does_not_have_are_named() -> None:
    body: dict[str, JsonValue] = {"properties": {"seed": {"type": "integer"}}}
    schema = read_schema(KindView(name="bare", json_schema=body))
    form = TrainForm(family="bare", corpus="x", tokenizer=TOKENIZER_ID, name="n", seed=1, device="cpu")
    with pytest.raises(AppError) as caught:
        spec_of(form, schema, owner_id=OWNER_ID)
    told = {fault.pointer: fault.message for fault in caught.value.faults}
    assert told == dict.fromkeys(
        ("/corpus", "/tokenizer", "/name", "/device"), "is nothing that bare can be given: leave it out"
    )
    assert "see corpus, tokenizer, name, device" in caught.value.message


@given(st.text(max_size=120))
def test_whatever_is_typed_as_settings_is_taken_or_refused(text: str) -> None:
    refused: AppError | None = None
    body: JsonObject = {}
    try:
        body = spec(replace(FORM, settings=text))
    except AppError as error:
        refused = error
    if refused is None:
        assert (body["user_id"], body["model_family"]) == (str(OWNER_ID), "gpt2")
    else:
        assert refused.faults


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "n_layer": st.integers(1, 512),
            "dropout": st.floats(0, 0.99),
            "tf32": st.booleans(),
            "optimizer.name": st.sampled_from(["adamw", "sgd"]),
            "optimizer.learning_rate": st.floats(1e-12, 10),
            "gradient_clip_norm": st.floats(0, 1e6),
            "schedule.warmup_steps": st.integers(0, 10_000_000),
        },
    )
)
def test_settings_within_bounds_are_what_the_family_itself_would_take(settings: dict[str, object]) -> None:
    text = ", ".join(f"{name}={str(value).lower()}" for name, value in settings.items())
    GPT2.spec.model_validate_json(dump_json(spec(replace(FORM, settings=text))))
