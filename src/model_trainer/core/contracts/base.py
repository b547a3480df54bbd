"""The base of every contract, and JSON in and out without untyped values."""

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from model_trainer.core.errors import AppError, ErrorCode, faults_of

type_json: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)
type_json_object: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])

JsonObject = dict[str, JsonValue]


class Contract(BaseModel):
    """A frozen, strict value: unknown fields, NaN and silent coercion are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


def parse_json(text: str | bytes) -> JsonValue:
    """The JSON value in `text`; raises CONFIG_INVALID when it is not JSON."""
    try:
        return type_json.validate_json(text)
    except ValidationError as error:
        raise AppError(
            ErrorCode.CONFIG_INVALID, "This is not valid JSON.", facts={"detail": _why(error)}
        ) from error


def parse_json_object(text: str | bytes) -> JsonObject:
    """The JSON object in `text`; raises CONFIG_INVALID for anything else."""
    try:
        return type_json_object.validate_json(text)
    except ValidationError as error:
        raise AppError(
            ErrorCode.CONFIG_INVALID, "This is not a JSON object.", facts={"detail": _why(error)}
        ) from error


def dump_json(value: JsonValue) -> str:
    """`value` as one line of JSON."""
    return type_json.dump_json(value).decode()


def as_json(value: BaseModel) -> JsonObject:
    """A contract as a JSON object, the way it would be sent."""
    return type_json_object.validate_json(value.model_dump_json())


def _why(error: ValidationError) -> str:
    """What is wrong with a text, without the text: it may hold secrets."""
    return "; ".join(fault.message for fault in faults_of(error))
