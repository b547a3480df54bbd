"""Pydantic's validation errors as our field faults."""

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from model_trainer.core.errors.app_error import FieldFault


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    loc: tuple[str | int, ...]
    msg: str


_rows: TypeAdapter[list[_Row]] = TypeAdapter(list[_Row])


def faults_of(error: ValidationError) -> list[FieldFault]:
    """Each wrong field with a JSON pointer (RFC 6901) and what pydantic says of it."""
    rows = _rows.validate_json(error.json(include_url=False, include_input=False, include_context=False))
    # Our own validators' sentences come with a prefix that says nothing to the caller.
    return [
        FieldFault(pointer=_pointer(row.loc), message=row.msg.removeprefix("Value error, ")) for row in rows
    ]


def _pointer(location: tuple[str | int, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
