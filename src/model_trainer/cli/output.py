"""Where words go. With --json: one JSON value (or one a line) on standard output, everything else on standard error."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from model_trainer.core.contracts.base import dump_json
from model_trainer.core.errors import AppError

if TYPE_CHECKING:
    from pydantic import JsonValue
    from rich.console import Console, RenderableType

PIPE_COLUMNS = 200


class Output:
    """Shows results to people or to programs."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        """Whether a program is reading."""

    def console(self) -> "Console":
        """For results meant for people; wide where no terminal says how wide it is."""
        from rich.console import Console

        stream: TextIO = sys.stdout
        return Console(highlight=False, width=None if stream.isatty() else PIPE_COLUMNS)

    def notes(self) -> "Console":
        """For everything that is not the result."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    def show(self, value: "JsonValue", *, render: Callable[[], "RenderableType"]) -> None:
        """The result: as JSON, or rendered for people."""
        if self.as_json:
            self.line(dump_json(value))
        else:
            self.console().print(render())

    def line(self, text: str) -> None:
        """One line on standard output, as it is."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def words(self, text: str) -> None:
        """Some words on standard output as they come, with nothing behind them."""
        sys.stdout.write(printable(text))
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """One sentence for a person, beside the result."""
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()

    def error(self, error: AppError) -> None:
        """What went wrong and what to do: one line, the wrong fields below, the request id last."""
        lines = [f"error {error.code.value}: {error.message}"]
        lines += [f"  {fault.pointer or '/'}: {fault.message}" for fault in error.faults]
        for fact in ("detail", "server_code", "idempotency_key", "request_id"):
            value = error.facts.get(fact)
            if value is not None:
                lines.append(f"  {fact}: {value}")
        for line in lines:
            self.note(line)


def printable(text: str) -> str:
    """`text` without anything that moves a terminal's cursor or colours it: other people wrote it."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )
