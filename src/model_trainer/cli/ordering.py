"""Commands that order work, stop it and let it go on."""

from model_trainer.cli import rendering
from model_trainer.cli.session import Session
from model_trainer.cli.watching import watch_run
from model_trainer.client.views import RunView
from model_trainer.core.contracts.base import JsonObject, as_json


def order_training(session: Session, spec: JsonObject, *, watch: bool) -> None:
    """Orders a training; stays to watch it if asked."""
    with session.connect() as client:
        run = client.train(spec)
    _ordered(session, "Run", run, watch=watch)


def order_tokenizer(session: Session, spec: JsonObject, *, watch: bool) -> None:
    """Orders a tokenizer; stays to watch it if asked."""
    with session.connect() as client:
        tokenizer = client.train_tokenizer(spec)
    if watch:
        session.output.note(f"Tokenizer {tokenizer.tokenizer_id} is {tokenizer.status}.")
        watch_run(session, tokenizer.tokenizer_id)
    else:
        session.output.show(as_json(tokenizer), render=lambda: rendering.tokenizer_card(tokenizer))
        session.output.note(f"Watch it: model-trainer run watch {tokenizer.tokenizer_id}")


def order_evaluation(session: Session, run_id: str, spec: JsonObject, *, watch: bool) -> None:
    """Orders an evaluation; stays to watch it if asked."""
    with session.connect() as client:
        evaluation = client.evaluate(run_id, spec)
    _ordered(session, "Evaluation", evaluation, watch=watch)


def order_calibration(session: Session, run_id: str, spec: JsonObject, *, watch: bool) -> None:
    """Orders a new calibration of a detector; stays to watch it if asked."""
    with session.connect() as client:
        calibration = client.calibrate(run_id, spec)
    _ordered(session, "Calibration", calibration, watch=watch)


def order_export(session: Session, run_id: str, spec: JsonObject, *, watch: bool) -> None:
    """Orders a new export of a detector; stays to watch it if asked."""
    with session.connect() as client:
        export = client.export(run_id, spec)
    _ordered(session, "Export", export, watch=watch)


def cancel_run(session: Session, run_id: str) -> None:
    """Asks a run to stop."""
    with session.connect() as client:
        run = client.cancel(run_id)
    session.output.show(as_json(run), render=lambda: rendering.run_card(run))


def pause_run(session: Session, run_id: str) -> None:
    """Asks a training to stand still."""
    with session.connect() as client:
        run = client.pause(run_id)
    session.output.show(as_json(run), render=lambda: rendering.run_card(run))
    session.output.note(f"Let it go on: model-trainer run resume {run_id}")


def resume_run(session: Session, run_id: str, *, step: int | None, watch: bool) -> None:
    """Lets a training go on; stays to watch it if asked."""
    with session.connect() as client:
        run = client.resume(run_id, step=step)
    _ordered(session, "Run", run, watch=watch)


def _ordered(session: Session, what: str, run: RunView, *, watch: bool) -> None:
    if watch:
        session.output.note(f"{what} {run.run_id} is {run.status}.")
        watch_run(session, run.run_id)
    else:
        session.output.show(as_json(run), render=lambda: rendering.run_card(run))
        session.output.note(f"Watch it: model-trainer run watch {run.run_id}")
