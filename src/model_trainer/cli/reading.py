"""Commands that ask the API and show its answer."""

from collections.abc import Mapping, Sequence
from itertools import islice

from pydantic import JsonValue

from model_trainer.cli import rendering
from model_trainer.cli.output import printable
from model_trainer.cli.session import Session
from model_trainer.client.views import View
from model_trainer.core.contracts.base import as_json, dump_json
from model_trainer.core.errors import AppError, ErrorCode

PAGE_SIZE = 100


def list_runs(
    session: Session, *, filters: Mapping[str, str | None], labels: Sequence[str], limit: int
) -> None:
    """The newest runs that fit."""
    with session.connect() as client:
        asked = query_filters(filters, labels)
        found = tuple(islice(client.runs(limit=min(limit, PAGE_SIZE), filters=asked), limit))
    session.output.show(_listed(found), render=lambda: rendering.run_table(found))


def list_tokenizers(
    session: Session, *, filters: Mapping[str, str | None], labels: Sequence[str], limit: int
) -> None:
    """The newest tokenizers that fit."""
    with session.connect() as client:
        asked = query_filters(filters, labels)
        found = tuple(islice(client.tokenizers(limit=min(limit, PAGE_SIZE), filters=asked), limit))
    session.output.show(_listed(found), render=lambda: rendering.tokenizer_table(found))


def show_run(session: Session, run_id: str) -> None:
    """One run in full."""
    with session.connect() as client:
        run = client.run(run_id)
    session.output.show(as_json(run), render=lambda: rendering.run_card(run))


def show_evaluations(session: Session, run_id: str) -> None:
    """What evaluations found."""
    with session.connect() as client:
        found = client.evaluations(run_id)
    session.output.show(as_json(found), render=lambda: rendering.evaluation_table(found))


def show_model_card(session: Session, run_id: str) -> None:
    """What a detector is: the page for people, the figures for programs."""
    with session.connect() as client:
        if session.output.as_json:
            session.output.line(dump_json(as_json(client.model_card(run_id))))
        else:
            session.output.line(printable(client.model_card_page(run_id)))


def show_checkpoints(session: Session, run_id: str) -> None:
    """What a training can go on from."""
    with session.connect() as client:
        found = client.checkpoints(run_id)
    session.output.show(as_json(found), render=lambda: rendering.checkpoint_table(found.data))


def show_tokenizer(session: Session, tokenizer_id: str) -> None:
    """One tokenizer in full."""
    with session.connect() as client:
        tokenizer = client.tokenizer(tokenizer_id)
    session.output.show(as_json(tokenizer), render=lambda: rendering.tokenizer_card(tokenizer))


def list_families(session: Session) -> None:
    """What can be trained."""
    with session.connect() as client:
        families = client.families()
    session.output.show(as_json(families), render=lambda: rendering.families_tables(families))


def print_logs(session: Session, run_id: str, *, tail: int) -> None:
    """The last lines of a run's log, as JSON lines in either mode: that is what they are."""
    with session.connect() as client:
        for line in client.logs(run_id, tail=tail).data:
            session.output.line(dump_json(line))


def follow_logs(session: Session, run_id: str, *, tail: int) -> None:
    """The last lines, then each new one until the run ends or Ctrl-C."""
    with session.connect() as client:
        for event in client.follow_logs(run_id, tail=tail):
            if event.name != "done":
                session.output.line(dump_json(event.data))


def query_filters(filters: Mapping[str, str | None], labels: Sequence[str]) -> dict[str, str]:
    """Options that were given, as query parameters."""
    asked = {name: value for name, value in filters.items() if value is not None}
    for label in labels:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise AppError(ErrorCode.CONFIG_INVALID, f"--label {label!r} is not of the form KEY=VALUE.")
        asked[f"metadata[{key}]"] = value
    return asked


def _listed(views: Sequence[View]) -> list[JsonValue]:
    return [as_json(view) for view in views]
