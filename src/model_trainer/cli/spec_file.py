"""Request bodies from YAML or JSON files and from options. The server checks them; here they only come together."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import yaml
from pydantic import TypeAdapter, ValidationError

from model_trainer.client.spec_fields import parse_yaml, put, typed_value
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.errors import AppError, ErrorCode

Option = str | int | float | None

_json_object: TypeAdapter[JsonObject] = TypeAdapter(JsonObject)


def build_spec(
    file: str | None, *, options: Mapping[str, Option], labels: Sequence[str], settings: Sequence[str]
) -> JsonObject:
    """The file's fields, over them the options that were given, over them `labels` and `--set KEY=VALUE`.

    Args:
        file: path of a YAML or JSON file; - for standard input; None for an empty start.
        options: by field; dots lead into nested fields; None was not given.
        labels: KEY=VALUE pairs for `metadata`.
        settings: KEY=VALUE pairs for any field, the value typed as in YAML.
    """
    spec: JsonObject = {} if file is None else read_spec(file)
    for key, value in options.items():
        if value is not None:
            put(spec, key.split("."), value)
    for key, text in map(_pair, labels):
        put(spec, ["metadata", key], text)
    for key, text in map(_pair, settings):
        put(spec, key.split("."), typed_value(text))
    return spec


def origin(text: str | None) -> dict[str, Option]:
    """The fields that `RUN_ID` or `RUN_ID@STEP` stands for; none when nothing was given."""
    if text is None:
        return {}
    run_id, at, step = text.partition("@")
    if at and not (step.isascii() and step.isdigit()):
        message = f"{text!r} is not of the form RUN_ID or RUN_ID@STEP, the step a number."
        raise AppError(ErrorCode.CONFIG_INVALID, message)
    return {"init_from.run_id": run_id, "init_from.step": int(step) if at else None}


def read_spec(file: str) -> JsonObject:
    """The one mapping in a YAML or JSON file; raises CONFIG_INVALID for anything else."""
    text = read_text(file)
    try:
        return _json_object.validate_python(parse_yaml(text))
    except (yaml.YAMLError, ValidationError) as error:
        message = f"{_named(file)} must hold one YAML or JSON mapping with the fields of the API's body."
        raise AppError(ErrorCode.CONFIG_INVALID, message, facts={"detail": _first_line(error)}) from error


def read_text(file: str) -> str:
    """A file's text, or that of standard input (-); raises CONFIG_INVALID for what is not UTF-8."""
    try:
        return _standard_input() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{_named(file)} cannot be read as UTF-8 text: {error}"
        raise AppError(ErrorCode.CONFIG_INVALID, message) from error


def _standard_input() -> str:
    stream: TextIO = sys.stdin
    return stream.read()


def _named(file: str) -> str:
    return "standard input" if file == "-" else file


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        message = f"{text!r} is not of the form KEY=VALUE."
        raise AppError(ErrorCode.CONFIG_INVALID, message)
    return key, value


def _first_line(error: Exception) -> str:
    return str(error).replace("\n", " ")[:300]
