"""From what somebody filled in to the body of POST /runs/train, by the family's own schema.

Refuses, with the field and the way out, what the API would refuse only in words that may not be passed on.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from model_trainer.client.spec_fields import put, typed_value
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.discord_bot.commands.family_schema import (
    FAMILY,
    LABELS,
    OWNER,
    TOKENIZER,
    FamilySchema,
    SpecField,
)
from model_trainer.discord_bot.commands.settings_text import read_settings

PLAIN_OPTIONS = (
    "max_steps",
    "num_epochs",
    "batch_size",
    "max_seq_len",
    "learning_rate",
    "device",
    "precision",
    "seed",
)
"""Options that are called like the fields they stand for."""
BY_THE_BOT = (FAMILY, OWNER)
FIELD_NAME = re.compile(r"[a-z][a-z0-9_.]{0,63}")
"""What fields are called: what else somebody typed is not said again."""
NEAR = 3


@dataclass(frozen=True, slots=True)
class TrainForm:
    """What somebody filled in; None was left out."""

    family: str
    corpus: str
    tokenizer: str | None = None
    name: str | None = None
    """Kept as metadata.name."""
    max_steps: int | None = None
    num_epochs: float | None = None
    batch_size: int | None = None
    max_seq_len: int | None = None
    learning_rate: float | None = None
    device: str | None = None
    precision: str | None = None
    seed: int | None = None
    settings: str = ""
    """key=value, key=value for any other field; the values typed as in YAML."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One value on its way into the body."""

    option: str
    """As the one who typed it calls it."""
    path: tuple[str, ...]
    field: SpecField
    value: JsonValue


def spec_of(form: TrainForm, schema: FamilySchema, *, owner_id: int) -> JsonObject:
    """The request's body; raises CONFIG_INVALID naming every option or field that cannot stand, and what to do.

    Args:
        form: what was filled in.
        schema: of the family that the form names.
        owner_id: of the Discord user who asks; goes along as user_id.
    """
    spec: JsonObject = {FAMILY: schema.family, OWNER: str(owner_id)}
    faults: list[FieldFault] = []
    taken: list[tuple[str, ...]] = []
    for found in (*_from_options(form, schema), *_from_settings(form, schema)):
        if isinstance(found, FieldFault):
            faults.append(found)
            continue
        why = "is given twice" if _clashes(found.path, taken) else found.field.fault(found.value)
        if why is not None:
            faults.append(_fault(found.option, why))
            continue
        taken.append(found.path)
        put(spec, found.path, found.value)
    if spec.get("max_steps") is not None and spec.get("num_epochs") is not None:
        faults.append(_fault("max_steps", "is given beside num_epochs: leave one of them out"))
    faults += _missing(spec, schema, {fault.pointer for fault in faults})
    if faults:
        named = ", ".join(fault.pointer.removeprefix("/") for fault in faults)
        raise AppError(ErrorCode.CONFIG_INVALID, f"The form does not fit: see {named}.", faults=faults)
    return spec


def _from_options(form: TrainForm, schema: FamilySchema) -> Iterator[_Entry | FieldFault]:
    corpus = schema.corpus()
    path: JsonValue = [form.corpus] if corpus is not None and corpus.is_list else form.corpus
    yield _entry("corpus", corpus, path, schema)
    if form.tokenizer is not None:
        tokenizer = form.tokenizer.strip().upper()
        if not is_ulid(tokenizer):
            yield _fault(
                "tokenizer", "must be a tokenizer's id of 26 characters: choose one that is suggested"
            )
        else:
            yield _entry("tokenizer", schema.fields.get(TOKENIZER), tokenizer, schema)
    if form.name is not None:
        yield _label("name", "name", form.name, schema)
    values: tuple[JsonValue, ...] = (
        form.max_steps,
        form.num_epochs,
        form.batch_size,
        form.max_seq_len,
        form.learning_rate,
        form.device,
        form.precision,
        form.seed,
    )
    for option, value in zip(PLAIN_OPTIONS, values, strict=True):
        if value is not None:
            yield _entry(option, schema.find(option), value, schema)


def _from_settings(form: TrainForm, schema: FamilySchema) -> Iterator[_Entry | FieldFault]:
    try:
        pairs = read_settings(form.settings)
    except AppError as error:
        yield from error.faults
        return
    for name, text in pairs:
        field = schema.fields.get(name)
        if name in BY_THE_BOT:
            yield _fault(name, "cannot be set here: the bot sets it")
        elif field is not None:
            value = typed_value(text)
            is_text = field.is_text and not isinstance(value, str | None)
            yield _Entry(name, tuple(name.split(".")), field, text if is_text else value)
        elif name.startswith(f"{LABELS}.") and name != f"{LABELS}.":
            yield _label(LABELS, name.removeprefix(f"{LABELS}."), text, schema)
        elif FIELD_NAME.fullmatch(name) is None:
            yield _fault("settings", f"holds a name that no field of {schema.family} has")
        else:
            yield _fault(name, f"is not a field of {schema.family}{_nearest(name, schema)}")


def _entry(
    option: str, field: SpecField | None, value: JsonValue, schema: FamilySchema
) -> _Entry | FieldFault:
    if field is None:
        return _fault(option, f"is nothing that {schema.family} can be given: leave it out")
    return _Entry(option, tuple(field.name.split(".")), field, value)


def _label(option: str, key: str, text: str, schema: FamilySchema) -> _Entry | FieldFault:
    """A label of the caller's own; its key may hold dots."""
    if schema.labels is None:
        return _entry(option, None, text, schema)
    return _Entry(option, (LABELS, key), schema.labels, text)


def _clashes(path: tuple[str, ...], taken: list[tuple[str, ...]]) -> bool:
    """Whether a value stands there already, or stands in the way."""
    return any(path[: len(other)] == other[: len(path)] for other in taken)


def _missing(spec: JsonObject, schema: FamilySchema, refused: set[str]) -> Iterator[FieldFault]:
    corpus = schema.corpus()
    options = {TOKENIZER: "tokenizer"} | ({} if corpus is None else {corpus.name: "corpus"})
    for name, field in schema.fields.items():
        option = options.get(name, name)
        if not field.is_required or name in spec or f"/{option}" in refused:
            continue
        way_out = "choose one that is suggested" if name == TOKENIZER else f"give {name}=... in settings"
        yield _fault(option, f"is missing: {schema.family} needs it, {way_out}")


def _nearest(name: str, schema: FamilySchema) -> str:
    """Which field may have been meant."""
    last = name.rpartition(".")[2]
    same = [field for field in schema.fields if field.rpartition(".")[2] == last]
    near = same or difflib.get_close_matches(name, list(schema.fields), n=NEAR)
    return f": is {' or '.join(near[:NEAR])} meant?" if near else ": leave it out"


def _fault(option: str, why: str) -> FieldFault:
    return FieldFault(pointer=f"/{option}", message=why)
