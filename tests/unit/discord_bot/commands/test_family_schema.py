"""A family's schema, as it is read from the API."""

import pytest
from pydantic import JsonValue

from model_trainer.client.views import KindView
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.commands.family_schema import FamilySchema, as_text, read_schema
from model_trainer.models.char_lstm import FAMILY as CHAR_LSTM
from model_trainer.models.family import Family
from model_trainer.models.gpt2 import FAMILY as GPT2
from model_trainer.models.text_detector import FAMILY as TEXT_DETECTOR
from model_trainer.registry import Registry
from tests.unit.discord_bot.desk import WalnutFamily, kind_of

GPT2_SCHEMA = read_schema(kind_of(GPT2))


def schema_with(required: list[str] | None = None, **properties: JsonValue) -> FamilySchema:
    """Of a family made up for one test."""
    body: dict[str, JsonValue] = {"properties": dict(properties), "required": list(required or [])}
    return read_schema(KindView(name="made_up", json_schema=body))


@pytest.mark.parametrize(
    ("family", "corpus"),
    [
        (GPT2, "corpus_path"),
        (CHAR_LSTM, "corpus_path"),
        (TEXT_DETECTOR, "data_paths"),
        (WalnutFamily(), "corpus_path"),
    ],
)
def test_where_the_data_goes_follows_from_the_schema(family: Family, corpus: str) -> None:
    field = read_schema(kind_of(family)).corpus()
    assert field is not None
    assert field.name == corpus


TEXT: JsonValue = {"type": "string"}


@pytest.mark.parametrize(
    ("required", "names", "corpus"),
    [
        (["book"], ["motto", "book"], "book"),
        (["motto"], ["motto", "book_path"], "book_path"),
        (["b_path"], ["a_path", "b_path"], "b_path"),
        ([], ["motto"], None),
        ([], ["book_paths"], "book_paths"),
        (["model_family", "tokenizer_id", "user_id"], ["model_family", "tokenizer_id", "user_id"], None),
    ],
)
def test_a_family_of_tomorrow_may_call_its_data_what_it_likes(
    required: list[str], names: list[str], corpus: str | None
) -> None:
    field = schema_with(required, **dict.fromkeys(names, TEXT)).corpus()
    assert (None if field is None else field.name) == corpus


def test_numbers_and_what_lies_inside_mappings_hold_no_data() -> None:
    inner: JsonValue = {"type": "object", "properties": {"x_path": TEXT}}
    schema = schema_with(["size_path", "inner"], size_path={"type": "integer"}, inner=inner)
    assert schema.corpus() is None
    assert "inner.x_path" in schema.fields


def test_an_option_is_found_where_it_is_nested_least() -> None:
    found = GPT2_SCHEMA.find("learning_rate")
    assert found is not None
    assert found.name == "optimizer.learning_rate"
    assert GPT2_SCHEMA.find("rings") is None
    inner: JsonValue = {"type": "object", "properties": {"pace": {"type": "integer"}}}
    both = schema_with(inner=inner, pace={"type": "number"}).find("pace")
    assert both is not None
    assert both.name == "pace"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("n_layer", "a whole number at least 1 and at most 512"),
        ("optimizer.learning_rate", "a number above 0 and at most 10"),
        ("dropout", "a number at least 0 and below 1"),
        ("early_stopping.min_delta", "a number at least 0"),
        ("device", "one of: auto, cpu, cuda"),
        ("model_size", "one of: tiny, small, medium, large, xl"),
        ("tf32", "true or false"),
        ("corpus_path", "text of 1 to 4,096 characters"),
        ("init_from.run_id", "text"),
        ("sample_prompts", "a list"),
        ("optimizer", "a mapping"),
    ],
)
def test_what_may_stand_in_a_field_is_said(name: str, wanted: str) -> None:
    assert GPT2_SCHEMA.fields[name].wanted() == wanted


def test_of_many_choices_some_are_named() -> None:
    field = schema_with(tree={"enum": [f"t{number}" for number in range(30)], "type": "string"}).fields[
        "tree"
    ]
    assert field.wanted().startswith("one of: t0, t1,")
    assert field.wanted().endswith("t11, ...")
    assert field.fault("t29") is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("n_layer", [1, 512, None]),
        ("optimizer.learning_rate", [1e-9, 10, 10.0, None]),
        ("dropout", [0, 0.999, None]),
        ("device", ["auto", "cuda"]),
        ("model_size", ["tiny", None]),
        ("tf32", [True, False]),
        ("corpus_path", ["x", "x" * 4096]),
        ("sample_prompts", [[], ["a"]]),
        ("optimizer", [{}, {"name": "muon"}]),
    ],
)
def test_what_fits_a_field_has_no_fault(name: str, values: list[JsonValue]) -> None:
    assert [GPT2_SCHEMA.fields[name].fault(value) for value in values] == [None] * len(values)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("n_layer", [0, 513, 10**400, 1.0, True, "1", [1]]),
        ("optimizer.learning_rate", [0, -1, 10.001, float("nan"), float("inf"), True, "fast"]),
        ("dropout", [-0.1, 1]),
        ("device", ["tpu", None, 1]),
        ("model_size", ["Tiny", ["tiny"]]),
        ("tf32", [0, "yes", None]),
        ("corpus_path", ["", "x" * 4097, 3, None, ["x"]]),
        ("sample_prompts", ["a", {}]),
        ("optimizer", ["muon", []]),
    ],
)
def test_what_does_not_fit_is_told_what_would(name: str, values: list[JsonValue]) -> None:
    field = GPT2_SCHEMA.fields[name]
    assert [field.fault(value) for value in values] == [f"must be {field.wanted()}"] * len(values)


def test_defaults_of_a_mapping_go_before_those_of_its_fields() -> None:
    assert GPT2_SCHEMA.fields["checkpoint.keep_best"].default is True
    assert read_schema(kind_of(TEXT_DETECTOR)).fields["checkpoint.keep_best"].default is False


def test_only_what_must_be_given_is_required() -> None:
    required = {
        name for name, field in read_schema(kind_of(WalnutFamily())).fields.items() if field.is_required
    }
    assert required == {"model_family", "corpus_path", "tokenizer_id", "rings"}


def test_labels_are_text_of_some_length_where_a_family_takes_them() -> None:
    assert GPT2_SCHEMA.labels is not None
    assert GPT2_SCHEMA.labels.fault("x" * 512) is None
    assert GPT2_SCHEMA.labels.fault("x" * 513) == "must be text of 0 to 512 characters"
    assert schema_with(seed={"type": "integer"}).labels is None
    assert schema_with(metadata={"type": "object", "additionalProperties": True}).labels is None


def test_a_field_that_says_nothing_takes_anything() -> None:
    schema = schema_with(any={}, lost={"$ref": "#/$defs/Gone"})
    values: list[JsonValue] = [None, 1, "x", [1], {}]
    assert [schema.fields[name].fault(value) for name in ("any", "lost") for value in values] == [None] * 10


def test_a_constant_is_the_only_choice() -> None:
    assert GPT2_SCHEMA.fields["model_family"].choices == ("gpt2",)


def test_a_schema_that_holds_itself_has_an_end() -> None:
    node: JsonValue = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    body: dict[str, JsonValue] = {"properties": {"first": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}
    schema = read_schema(KindView(name="loop", json_schema=body))
    assert sorted(schema.fields, key=len) == [
        "first",
        "first.next",
        "first.next.next",
        "first.next.next.next",
    ]


@pytest.mark.parametrize("family", Registry.discover().families().values(), ids=lambda family: family.name)
def test_of_our_own_families_every_field_and_choice_may_be_named(family: Family) -> None:
    told = family.spec.model_json_schema()
    schema = read_schema(kind_of(family))
    assert set(told["properties"]) == {name for name in schema.fields if "." not in name}
    for name, inner in told["properties"].items():
        if "enum" in inner:
            assert list(schema.fields[name].choices) == inner["enum"]


@pytest.mark.parametrize("name", ["/srv/books", "secret.txt", "", "ghp_0123456789abcdef", "a b", "_x"])
def test_what_nobody_would_call_a_field_is_none(name: str) -> None:
    body: dict[str, JsonValue] = {"properties": {name: TEXT, "numHeads": TEXT}}
    assert set(read_schema(KindView(name="made_up", json_schema=body)).fields) == {"numHeads"}


def test_choices_defaults_and_examples_that_look_private_are_not_known() -> None:
    fields: dict[str, JsonValue] = {
        "secret": {"type": "string", "enum": ["plain", "/srv/x"], "default": "/srv/x"},
        "many": {"type": "array", "default": ["/srv/x"]},
        "open": {"type": "string", "enum": ["plain"], "default": "plain"},
    }
    example: dict[str, JsonValue] = {"secret": "/srv/x", "open": "plain", "number": 10**15}
    schema = read_schema(KindView(name="made_up", json_schema={"properties": fields}, example=example))
    assert {name: (field.choices, field.default) for name, field in schema.fields.items()} == {
        "secret": ((), None),
        "many": ((), None),
        "open": (("plain",), "plain"),
    }
    assert schema.fields["secret"].fault("/srv/x") is None
    assert schema.example == {"open": "plain", "number": 10**15}


def test_a_family_without_a_schema_has_no_fields() -> None:
    assert read_schema(KindView(name="older")).fields == {}


def test_a_schema_of_another_make_is_refused() -> None:
    with pytest.raises(AppError) as caught:
        schema_with(seed={"type": ["integer", "null"]})
    assert caught.value.code is ErrorCode.INTERNAL


@pytest.mark.parametrize(
    ("value", "text"),
    [("gpt2", "gpt2"), (3, "3"), (0.5, "0.5"), (1e-05, "1e-05"), (True, "true"), (None, "null")],
)
def test_simple_values_read_as_they_are_typed(value: JsonValue, text: str) -> None:
    assert as_text(value) == text
