"""Follows a run on a board to its end."""

import typer

from model_trainer.cli import rendering
from model_trainer.cli.boards import Board, board_for
from model_trainer.cli.session import Session
from model_trainer.client import TrainerClient
from model_trainer.client.views import RunView
from model_trainer.core.contracts.base import as_json

DETACHED = 130
"""What shells know as: ended by Ctrl-C."""


def watch_run(session: Session, run_id: str) -> None:
    """Shows a run until it is over, then what came out; exits with 1 unless it completed.

    Ctrl-C detaches: the run goes on, and how to come back is said.
    """
    board = board_for(session.output)
    with session.connect() as client:
        try:
            run = follow_to_end(client, run_id, board)
        except KeyboardInterrupt:
            session.output.note(
                f"\nDetached; the run goes on. Come back: model-trainer run watch {run_id}. "
                f"Stop it: model-trainer run cancel {run_id}"
            )
            raise typer.Exit(DETACHED) from None
    session.output.show(as_json(run), render=lambda: rendering.run_card(run))
    if run.status != "completed":
        raise typer.Exit(1)


def follow_to_end(client: TrainerClient, run_id: str, board: Board) -> RunView:
    """Every event onto the board; returns the run as it then stands."""
    with board.open():
        for event in client.follow_events(run_id):
            if event.name != "done":
                board.show(event)
    return client.run(run_id)
