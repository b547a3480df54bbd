"""The one exception that our own code raises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_trainer.core.errors.codes import ErrorCode, FailureClass, failure_class_of

Fact = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One field that is wrong: where it stands (a JSON pointer) and what to do about it."""

    pointer: str
    message: str


class AppError(Exception):
    """A fault with a stable code, a sentence for a person, and facts for the log.

    The message says what to do next; facts never hold secrets or corpus text.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        facts: Mapping[str, Fact] | None = None,
        faults: Sequence[FieldFault] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.facts: dict[str, Fact] = dict(facts or {})
        self.faults: tuple[FieldFault, ...] = tuple(faults)

    def at(self, pointer: str) -> "AppError":
        """An equal error that names the field it is about; one that names its fields already keeps them."""
        faults = self.faults or (FieldFault(pointer=pointer, message=self.message),)
        return AppError(self.code, self.message, facts=self.facts, faults=faults)

    @property
    def failure_class(self) -> FailureClass:
        """Whose fault it is."""
        return failure_class_of(self.code)


class AskedToStop(Exception):
    """Somebody wants the work to end here: no failure. Raised where work asks whether to go on."""
