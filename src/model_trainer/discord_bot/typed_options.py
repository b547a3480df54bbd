"""What somebody has typed of a command so far, as Discord tells it while it asks for suggestions."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Typed:
    """The option somebody is at, and those that are filled in."""

    option: str
    """Its name; of the ids of runs "<command>.run_id"."""
    text: str
    """What stands in it so far; of a number too, which may be none yet."""
    others: dict[str, str]


class _Part(BaseModel):
    """A command, a command inside it, or an option."""

    model_config = ConfigDict(extra="ignore")

    name: str
    value: str | int | float | bool | None = None
    focused: bool = False
    options: "tuple[_Part, ...]" = ()


def read_typed(data: object) -> Typed:
    """Raises ValidationError for what is no such thing."""
    command = _Part.model_validate(data)
    while command.options and command.options[0].value is None:  # a command inside a group has no value
        command = command.options[0]
    at = next((part for part in command.options if part.focused), _Part(name="", value=""))
    others = {
        part.name: str(part.value) for part in command.options if not part.focused and part.value is not None
    }
    name = f"{command.name}.{at.name}" if at.name == "run_id" else at.name
    return Typed(option=name, text=str(at.value), others=others)
