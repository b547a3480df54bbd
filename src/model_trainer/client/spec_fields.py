"""Fields of a request body from text: dotted names, and values typed as YAML types them."""

import re
from collections.abc import Sequence
from typing import Protocol

import yaml
from pydantic import JsonValue

from model_trainer.core.contracts.base import JsonObject, type_json
from model_trainer.core.errors import AppError, ErrorCode, FieldFault


def typed_value(text: str) -> JsonValue:
    """A value as YAML types it: 3, 0.5, 1e-3, true, null, [1, 2], {a: 1}; anything else is text.

    Text with an alias (*a) is text: a few of them in one line stand for more than any memory holds.
    """
    try:
        return text if _has_alias(text) else type_json.validate_python(parse_yaml(text))
    except (yaml.YAMLError, ValueError, RecursionError):
        # ValueError: what only looks like a number or a date, such as 0x_ and 2026-13-40; pydantic's refusal is one too.
        return text


def put(spec: JsonObject, path: Sequence[str], value: JsonValue) -> None:
    """Sets a nested field, making the mappings on the way; raises CONFIG_INVALID where a value stands in the way."""
    inner = spec
    for done, name in enumerate(path[:-1], start=1):
        found = inner.setdefault(name, {})
        if not isinstance(found, dict):
            where = ".".join(path[:done])
            fault = FieldFault(pointer="/" + "/".join(path[:done]), message="holds a value, not fields")
            raise AppError(ErrorCode.CONFIG_INVALID, f"{where} holds a value, not fields.", faults=[fault])
        inner = found
    inner[path[-1]] = value


class _Resolves(Protocol):
    def add_implicit_resolver(self, tag: str, regexp: re.Pattern[str], first: list[str], /) -> object: ...


class _Reads(Protocol):
    def get_single_data(self) -> object: ...


class _Scans(Protocol):
    def check_token(self) -> bool: ...
    def get_token(self) -> object: ...


class SpecLoader(yaml.SafeLoader):
    """Safe YAML that also reads 1e-3 as a number: YAML 1.1 wants 1.0e-3, and nobody writes that."""


_resolver: _Resolves = SpecLoader
_resolver.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str) -> object:
    """The one value in a YAML or JSON text; raises yaml.YAMLError."""
    reader: _Reads = SpecLoader(text)
    return reader.get_single_data()


def _has_alias(text: str) -> bool:
    scanner: _Scans = SpecLoader(text)
    alias: type[object] = yaml.AliasToken
    while scanner.check_token():
        if isinstance(scanner.get_token(), alias):
            return True
    return False
