"""Values from text that only look like something, and nested fields."""

import pytest

from model_trainer.client.spec_fields import put, typed_value
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.errors import AppError, ErrorCode


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("-2.5E+3", -2500.0),
        ("true", True),
        ("null", None),
        ("", None),
        ("[1, two]", [1, "two"]),
        ("cosine", "cosine"),
        ("'3'", "3"),
        ("{unclosed", "{unclosed"),
        ("2026-11-21", "2026-11-21"),
        ("!!python/object/apply:os.system [ls]", "!!python/object/apply:os.system [ls]"),
        ("!!python/int 3", "!!python/int 3"),  # a loader that knows no tag of Python's
    ],
)
def test_values_are_typed_as_in_yaml(text: str, value: object) -> None:
    assert typed_value(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "0x_",
        "2026-13-40",
        "9" * 5000,
        "[" * 5000,
        "{[1]: 2}",
        "*a",
        "[&a [x, x], &b [*a, *a], [*b, *b]]",
        "&a [*a]",
        "\x00",
    ],
)
def test_what_is_no_value_stays_text(text: str) -> None:
    assert typed_value(text) == text


def test_nested_fields_are_put_beside_one_another() -> None:
    spec: JsonObject = {}
    put(spec, ["optimizer", "name"], "muon")
    put(spec, ["optimizer", "beta1"], 0.5)
    put(spec, ["seed"], 3)
    assert spec == {"optimizer": {"name": "muon", "beta1": 0.5}, "seed": 3}


def test_a_value_does_not_become_fields() -> None:
    spec: JsonObject = {"optimizer": {"name": "muon"}}
    with pytest.raises(AppError, match=r"optimizer\.name holds a value") as caught:
        put(spec, ["optimizer", "name", "first"], 1)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert caught.value.faults[0].pointer == "/optimizer/name"
