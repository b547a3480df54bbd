"""A request to a model as Redis keeps it: a hash of strings. Some hold text, some digits, some JSON."""

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from model_trainer.core.contracts.base import dump_json
from model_trainer.core.contracts.inference import InferenceRecord
from model_trainer.core.errors import AppError, ErrorCode, faults_of
from model_trainer.infra.persistence.record_fields import pairs

TEXT_FIELDS = ("status", "owner")
JSON_FIELDS = (
    "request",
    "tries",
    "deaths",
    "created_at_ms",
    "started_at_ms",
    "finished_at_ms",
    "problem",
    "timings",
)
"""Digits are JSON too; the result, which may be large, stays the text that it is. The hash also holds what only the scripts
read: batch_key, ticket, alone, pending."""


def inference_record_of(fields: Mapping[str, str]) -> InferenceRecord:
    """The record that a hash holds; raises INTERNAL when somebody else wrote into it."""
    members = [f'"{name}":{dump_json(fields.get(name))}' for name in TEXT_FIELDS]
    members += [f'"{name}":{fields.get(name, "null")}' for name in JSON_FIELDS]
    members.append('"result":null')
    try:
        record = InferenceRecord.model_validate_json("{" + ",".join(members) + "}")
    except ValidationError as error:
        message = "The record of this request is damaged. Send the request again."
        facts = {"detail": ", ".join(fault.pointer for fault in faults_of(error))}
        # Without its cause, which would show the text that somebody asked about.
        raise AppError(ErrorCode.INTERNAL, message, facts=facts) from None
    answer: dict[str, object] = {"result": fields.get("result")}
    return record.model_copy(update=answer)


def hashes_of(reply: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Keys and their hashes, from the flat list that inference_take.lua answers with."""
    at = 0
    while at < len(reply):
        first, end = at + 2, at + 2 + int(reply[at + 1])
        yield reply[at], pairs(reply[first:end])
        at = end
