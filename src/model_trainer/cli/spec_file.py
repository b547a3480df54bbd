"""Request bodies from YAML or JSON files and from options. The server checks them; here they only come together."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TextIO

import yaml
from pydantic import JsonValue, TypeAdapter, ValidationError

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.errors import AppError, ErrorCode, FieldFault

Option = str | int | float | None

_json_value: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)
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
            _put(spec, key.split("."), value)
    for key, text in map(_pair, labels):
        _put(spec, ["metadata", key], text)
    for key, text in map(_pair, settings):
        _put(spec, key.split("."), typed_value(text))
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
        return _json_object.validate_python(_parse(text))
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


def typed_value(text: str) -> JsonValue:
    """A value as YAML types it: 3, 0.5, 1e-3, true, null, [1, 2], {a: 1}; anything else is text."""
    try:
        return _json_value.validate_python(_parse(text))
    except (yaml.YAMLError, ValidationError):
        return text


class _Resolves(Protocol):
    def add_implicit_resolver(self, tag: str, regexp: re.Pattern[str], first: list[str], /) -> object: ...


class _Reads(Protocol):
    def get_single_data(self) -> object: ...


class SpecLoader(yaml.SafeLoader):
    """Safe YAML that also reads 1e-3 as a number: YAML 1.1 wants 1.0e-3, and nobody writes that."""


_resolver: _Resolves = SpecLoader
_resolver.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _standard_input() -> str:
    stream: TextIO = sys.stdin
    return stream.read()


def _named(file: str) -> str:
    return "standard input" if file == "-" else file


def _parse(text: str) -> object:
    reader: _Reads = SpecLoader(text)
    return reader.get_single_data()


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        message = f"{text!r} is not of the form KEY=VALUE."
        raise AppError(ErrorCode.CONFIG_INVALID, message)
    return key, value


def _put(spec: JsonObject, path: Sequence[str], value: JsonValue) -> None:
    """Sets a nested field, making the mappings on the way."""
    inner = spec
    for done, name in enumerate(path[:-1], start=1):
        found = inner.setdefault(name, {})
        if not isinstance(found, dict):
            where = ".".join(path[:done])
            fault = FieldFault(pointer="/" + "/".join(path[:done]), message="holds a value, not fields")
            raise AppError(ErrorCode.CONFIG_INVALID, f"{where} holds a value, not fields.", faults=[fault])
        inner = found
    inner[path[-1]] = value


def _first_line(error: Exception) -> str:
    return str(error).replace("\n", " ")[:300]
