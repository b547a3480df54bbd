"""What a family can be asked for, read from the JSON schema that the API tells: no family is known here by name."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from model_trainer.client.views import KindView
from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.cards.private_text import looks_private

FAMILY, TOKENIZER, OWNER, LABELS = "model_family", "tokenizer_id", "user_id", "metadata"
"""Fields that all families share by name (TrainSpec), and the one that language models and detectors share."""
DEEPEST = 4
MOST_CHOICES_NAMED = 12
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
"""What a field is called; nobody is told of others."""

Number = int | float
Value = TypeVar("Value")


class _Node(BaseModel):
    """One schema, as far as it matters here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str | None = None
    ref: str | None = Field(default=None, alias="$ref")
    any_of: tuple["_Node", ...] = Field(default=(), alias="anyOf")
    enum: tuple[JsonValue, ...] = ()
    const: JsonValue = None
    default: JsonValue = None
    description: str = ""
    minimum: Number | None = None
    maximum: Number | None = None
    above: Number | None = Field(default=None, alias="exclusiveMinimum")
    below: Number | None = Field(default=None, alias="exclusiveMaximum")
    shortest: int | None = Field(default=None, alias="minLength")
    longest: int | None = Field(default=None, alias="maxLength")
    properties: dict[str, "_Node"] = {}
    others: "_Node | bool | None" = Field(default=None, alias="additionalProperties")
    items: "_Node | bool | None" = None
    required: tuple[str, ...] = ()
    defs: dict[str, "_Node"] = Field(default={}, alias="$defs")


@dataclass(frozen=True, slots=True)
class SpecField:
    """One field of a request."""

    name: str
    """Dots lead into nested fields."""
    types: frozenset[str]
    """JSON's: integer, number, string, boolean, array, object, null. Empty where anything goes."""
    choices: tuple[str, ...] = ()
    minimum: Number | None = None
    maximum: Number | None = None
    above: Number | None = None
    below: Number | None = None
    shortest: int | None = None
    longest: int | None = None
    default: JsonValue = None
    is_required: bool = False
    description: str = ""
    holds_text: bool = False
    """Text, or a list of texts."""

    @property
    def is_list(self) -> bool:
        """Whether it takes a list and nothing simpler."""
        return "array" in self.types and "string" not in self.types

    @property
    def is_path(self) -> bool:
        """Whether its name says that data is found there."""
        return self.name.endswith(("_path", "_paths"))

    @property
    def is_text(self) -> bool:
        """Whether it takes text and nothing else, so that no text is taken for a number."""
        return self.types - {"null"} == {"string"}

    @property
    def is_nested(self) -> bool:
        """Whether it is a mapping of fields."""
        return "object" in self.types

    def wanted(self) -> str:
        """What may stand there: 'a whole number at least 1 and at most 16'."""
        if self.choices:
            named = ", ".join(self.choices[:MOST_CHOICES_NAMED])
            return f"one of: {named}" + (", ..." if len(self.choices) > MOST_CHOICES_NAMED else "")
        kinds = [what for kind, what in _WHAT.items() if kind in self.types]
        return " or ".join(kinds) + self._bounds()

    def fault(self, value: JsonValue) -> str | None:
        """What is wrong with a value, if anything is; what lists and mappings hold is the API's to judge."""
        if self._takes(value) and (value is None or not self.choices or as_text(value) in self.choices):
            return None
        return f"must be {self.wanted()}"

    def _takes(self, value: JsonValue) -> bool:
        if not self.types:
            return True
        match value:
            case None:
                return "null" in self.types
            case bool():
                return "boolean" in self.types
            case int() | float():
                return self._takes_number(value)
            case str():
                return "string" in self.types and self._takes_length(len(value))
            case list():
                return "array" in self.types
            case _:
                return "object" in self.types

    def _takes_number(self, value: Number) -> bool:
        if "number" not in self.types and (isinstance(value, float) or "integer" not in self.types):
            return False
        return (isinstance(value, int) or math.isfinite(value)) and not (
            (self.minimum is not None and value < self.minimum)
            or (self.maximum is not None and value > self.maximum)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )

    def _takes_length(self, length: int) -> bool:
        return (self.shortest or 0) <= length and (self.longest is None or length <= self.longest)

    def _bounds(self) -> str:
        if self.is_text:
            return "" if self.longest is None else f" of {self.shortest or 0} to {self.longest:,} characters"
        bounds = []
        if self.minimum is not None:
            bounds.append(f"at least {_plain(self.minimum)}")
        if self.above is not None:
            bounds.append(f"above {_plain(self.above)}")
        if self.maximum is not None:
            bounds.append(f"at most {_plain(self.maximum)}")
        if self.below is not None:
            bounds.append(f"below {_plain(self.below)}")
        return " " + " and ".join(bounds) if bounds else ""


_WHAT = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
}


@dataclass(frozen=True, slots=True)
class FamilySchema:
    """All fields of the requests for one family, by name."""

    family: str
    fields: Mapping[str, SpecField]
    example: Mapping[str, JsonValue]
    labels: SpecField | None
    """What each of the caller's own labels must be; None when the family takes none."""

    def find(self, option: str) -> SpecField | None:
        """The field of that name, wherever it is nested; the least nested where there are several."""
        named = [field for name, field in self.fields.items() if name.rpartition(".")[2] == option]
        return min(named, key=_depth, default=None)

    def corpus(self) -> SpecField | None:
        """Where the data goes: the field for text that is called a path, else the one that must be given."""
        candidates = [
            field
            for name, field in self.fields.items()
            if field.holds_text and "." not in name and name not in (FAMILY, TOKENIZER, OWNER)
        ]
        likely = [field for field in candidates if field.is_path] or candidates
        required = [field for field in likely if field.is_required]
        return next(iter(required or [field for field in likely if field.is_path]), None)


def read_schema(kind: KindView) -> FamilySchema:
    """A family's schema; raises INTERNAL when the API tells none that can be read."""
    try:
        root = _Node.model_validate_json(dump_json(kind.json_schema))
    except ValidationError as error:
        message = "The API tells a schema of this family that cannot be read: is it a newer Model Trainer?"
        raise AppError(
            ErrorCode.INTERNAL, message, facts={"detail": f"{error.error_count()} faults"}
        ) from error
    fields = {field.name: field for field in _fields(root, root, prefix="", depth=1, given=None)}
    labels = root.properties.get(LABELS)
    inner = None if labels is None or not isinstance(labels.others, _Node) else labels.others
    return FamilySchema(
        family=kind.name,
        fields=fields,
        example={name: value for name, value in kind.example.items() if not _is_private(value)},
        labels=None if inner is None else _field(root, inner, name=LABELS, is_required=False, default=None),
    )


def as_text(value: JsonValue) -> str:
    """A simple value as it is typed: true, 3, 0.5, gpt2; null for nothing."""
    match value:
        case str():
            return value
        case float():
            return f"{value:g}"
        case _:
            return dump_json(value)


def _fields(
    root: _Node, node: _Node, *, prefix: str, depth: int, given: JsonObject | None
) -> Iterator[SpecField]:
    """The fields of one mapping, those inside them behind each; `given`: the mapping's own default."""
    for name, inner in node.properties.items():
        if _NAME.fullmatch(name) is None or looks_private(name):
            continue
        default = inner.default if given is None else given.get(name, inner.default)
        is_required = depth == 1 and name in node.required
        field = _field(root, inner, name=prefix + name, is_required=is_required, default=default)
        yield field
        if depth < DEEPEST:
            defaults = default if isinstance(default, dict) else None
            for part in _parts(root, inner):
                yield from _fields(root, part, prefix=f"{field.name}.", depth=depth + 1, given=defaults)


def _field(root: _Node, node: _Node, *, name: str, is_required: bool, default: JsonValue) -> SpecField:
    parts = _parts(root, node)
    texts = [value for part in parts for value in part.enum if value is not None]
    texts += [part.const for part in parts if part.const is not None]
    lists = [part.items for part in parts if part.type == "array" and isinstance(part.items, _Node)]
    types = frozenset(part.type for part in parts if part.type is not None)
    return SpecField(
        name=name,
        types=types,
        # Not to be named: whether a value is among them is the API's to judge then.
        choices=() if any(map(_is_private, texts)) else tuple(map(as_text, texts)),
        minimum=_first(part.minimum for part in parts),
        maximum=_first(part.maximum for part in parts),
        above=_first(part.above for part in parts),
        below=_first(part.below for part in parts),
        shortest=_first(part.shortest for part in parts),
        longest=_first(part.longest for part in parts),
        default=None if _is_private(default) else default,
        is_required=is_required,
        description=node.description,
        holds_text="string" in types or any(inner.type == "string" for inner in lists),
    )


def _is_private(value: JsonValue) -> bool:
    """Whether it holds text that must not be said; numbers never do."""
    match value:
        case None | int() | float():
            return False
        case _:
            return looks_private(as_text(value))


def _parts(root: _Node, node: _Node) -> list[_Node]:
    """The schemas that a value may follow, references resolved; one that leads nowhere allows anything."""
    if node.ref is not None:
        return [root.defs.get(node.ref.rpartition("/")[2], _Node())]
    return [part for inner in node.any_of for part in _parts(root, inner)] or [node]


def _depth(field: SpecField) -> int:
    return field.name.count(".")


def _first(values: Iterable[Value | None]) -> Value | None:
    return next((value for value in values if value is not None), None)


def _plain(number: Number) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"
