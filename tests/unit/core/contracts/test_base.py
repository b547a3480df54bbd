"""Contracts are strict and frozen, and JSON goes in and out typed."""

import pytest
from pydantic import ValidationError

from model_trainer.core.contracts.base import Contract, as_json, dump_json, parse_json, parse_json_object
from model_trainer.core.errors import AppError, ErrorCode


class Reading(Contract):
    name: str
    value: float
    tags: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a", "value": 1.0, "unknown": 1},
        {"name": 1, "value": 1.0},
        {"name": "a", "value": "1.0"},
        {"name": "a", "value": float("nan")},
        {"name": "a", "value": float("inf")},
        {"name": "a"},
    ],
)
def test_what_is_not_exactly_as_declared_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Reading.model_validate(body)


def test_a_contract_does_not_change() -> None:
    reading = Reading(name="a", value=1.0)

    with pytest.raises(ValidationError, match="frozen"):
        setattr(reading, "value", 2.0)  # noqa: B010 - mypy would refuse the plain form before the test could


def test_a_contract_goes_out_as_json_and_comes_back() -> None:
    reading = Reading(name="å", value=1.0, tags=("x", "y"))

    body = as_json(reading)

    assert body == {"name": "å", "value": 1.0, "tags": ["x", "y"]}
    assert Reading.model_validate_json(dump_json(body)) == reading


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, null, true, "x"]}', b"[]", '"\\u00e5"', "3"])
def test_json_is_parsed_to_what_it_says(text: str | bytes) -> None:
    assert parse_json(dump_json(parse_json(text))) == parse_json(text)


def test_json_is_written_on_one_line() -> None:
    assert dump_json({"text": "two\nlines", "n": None}) == '{"text":"two\\nlines","n":null}'


@pytest.mark.parametrize("text", ["", "{", "hunter2", b"\xff", '{"a": 1} trailing'])
def test_what_is_not_json_is_refused_without_being_repeated(text: str | bytes) -> None:
    for parse in (parse_json, parse_json_object):
        with pytest.raises(AppError) as caught:
            parse(text)
        assert caught.value.code is ErrorCode.CONFIG_INVALID
        assert "Invalid JSON" in str(caught.value.facts["detail"])
        assert "hunter2" not in str(caught.value.facts)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"hunter2"'])
def test_an_object_is_asked_for_and_nothing_else_taken(text: str) -> None:
    with pytest.raises(AppError, match="not a JSON object") as caught:
        parse_json_object(text)

    assert "hunter2" not in str(caught.value.facts)
    assert parse_json_object('{"a": 1}') == {"a": 1}
