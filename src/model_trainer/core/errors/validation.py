"""Pydantic's validation errors as our field faults."""

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from model_trainer.core.errors.app_error import FieldFault


class _Context(BaseModel):
    model_config = ConfigDict(extra="ignore")
    wrong_field: str | None = None


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    loc: tuple[str | int, ...]
    msg: str
    ctx: _Context = _Context()

    @property
    def place(self) -> tuple[str | int, ...]:
        """Where the wrong field stands, also when a whole object was looked at to see it."""
        return self.loc if self.ctx.wrong_field is None else (*self.loc, self.ctx.wrong_field)


_rows: TypeAdapter[list[_Row]] = TypeAdapter(list[_Row])


def faults_of(error: ValidationError) -> list[FieldFault]:
    """Each wrong field with a JSON pointer (RFC 6901) and what pydantic says of it."""
    rows = _rows.validate_json(error.json(include_url=False, include_input=False))
    # Our own validators' sentences come with a prefix that says nothing to the caller.
    return [
        FieldFault(pointer=_pointer(row.place), message=row.msg.removeprefix("Value error, ")) for row in rows
    ]


def wrong_field(name: str, why: str) -> PydanticCustomError:
    """For validators of a whole object to raise: the field to change, when its value alone would be right."""
    said: dict[str, str] = {"wrong_field": name, "why": why}
    return PydanticCustomError("wrong_field", "{why}", said)


def _pointer(location: tuple[str | int, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
