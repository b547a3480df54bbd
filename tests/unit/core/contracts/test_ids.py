"""Ids are ULIDs, and nothing else passes for one."""

import pytest
from pydantic import TypeAdapter, ValidationError

from model_trainer.core.contracts.ids import (
    UlidText,
    is_ulid,
    new_ulid,
    parse_run_id,
    parse_tokenizer_id,
)
from model_trainer.core.errors import AppError, ErrorCode

NOT_IDS = [
    "",
    "01J",
    "../../etc/passwd",
    "01HZZZZZZZZZZZZZZZZZZZZZZ\n",
    "01HZZZZZZZZZZZZZZZZZZZZZZZ\n",
    "01hzzzzzzzzzzzzzzzzzzzzzzz",
    "01HIZZZZZZZZZZZZZZZZZZZZZZ",
    "01HUZZZZZZZZZZZZZZZZZZZZZZ",
    "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "\u0660\u0661HZZZZZZZZZZZZZZZZZZZZZZZ",
]


def test_new_ids_are_ids_and_all_different() -> None:
    ids = {new_ulid() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(is_ulid(each) for each in ids)


@pytest.mark.parametrize("text", NOT_IDS)
def test_anything_else_is_refused_by_the_name_of_its_field(text: str) -> None:
    assert not is_ulid(text)
    for parse, field in ((parse_run_id, "run_id"), (parse_tokenizer_id, "tokenizer_id")):
        with pytest.raises(AppError, match=field) as caught:
            parse(text)
        assert caught.value.code is ErrorCode.CONFIG_INVALID
        assert caught.value.faults[0].pointer == f"/{field}"
    with pytest.raises(ValidationError):
        TypeAdapter(UlidText).validate_python(text)


def test_an_id_is_taken_as_it_is() -> None:
    text = new_ulid()

    taken: list[str] = [
        parse_run_id(text),
        parse_tokenizer_id(text),
        TypeAdapter(UlidText).validate_python(text),
    ]

    assert taken == [text] * 3


def test_a_field_may_have_another_name() -> None:
    with pytest.raises(AppError, match="compare_to_run_id"):
        parse_run_id("x", field="compare_to_run_id")
