"""The API's description on disk: written, or compared with what the code says now."""

from pathlib import Path

import typer

from model_trainer.cli.session import Session

STALE = 1


def print_openapi(session: Session) -> None:
    """To standard output."""
    session.output.line(session.ways.doors.openapi().rstrip("\n"))


def write_openapi(session: Session, file: str) -> None:
    """Into a file."""
    Path(file).write_text(session.ways.doors.openapi(), encoding="utf-8", newline="\n")
    session.output.note(f"{file} is written.")


def check_openapi(session: Session, file: str) -> None:
    """Exits with 1 when the file is not what the code says."""
    path = Path(file)
    if path.is_file() and path.read_text(encoding="utf-8") == session.ways.doors.openapi():
        session.output.note(f"{file} is up to date.")
        return
    session.output.note(f"{file} is out of date. Write it anew: model-trainer openapi --output {file}")
    raise typer.Exit(STALE)
