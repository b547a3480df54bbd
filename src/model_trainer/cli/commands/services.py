"""Commands that run something: `up`, `serve`, `worker`, `inference`, `maintenance`, `discord`, `rebuild`, `demo`."""

from typing import Annotated, Literal

import typer

from model_trainer.cli.registration import Group, StateFolder
from model_trainer.cli.session import session_of

Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")]


def register(root: Group) -> None:
    """Adds the commands."""
    root.command("up")(up)
    root.command("serve")(serve)
    root.command("worker")(worker)
    root.command("inference")(inference)
    root.command("maintenance")(maintenance)
    root.command("discord")(discord)
    root.command("rebuild")(rebuild)
    root.command("demo")(demo)


def up(ctx: typer.Context, host: Host = "127.0.0.1", port: Port = 8000, state: StateFolder = None) -> None:
    """Run everything here, in the foreground: Redis, API, workers, maintenance. Ctrl-C stops all of it."""
    from model_trainer.cli.up import run_up

    run_up(session_of(ctx), host=host, port=port, state=state)


def serve(ctx: typer.Context, host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the API alone."""
    session = session_of(ctx)
    session.ways.doors.serve(session.settings(), host=host, port=port)


def worker(
    ctx: typer.Context,
    queue: Annotated[
        str, typer.Option("--queue", help="training, short, or a queue's own name.")
    ] = "training",
) -> None:
    """Run one worker. Trainings and short jobs (tokenizers, evaluations) have queues of their own."""
    session = session_of(ctx)
    settings = session.settings()
    names = {"training": settings.rq.queue_name, "short": settings.rq.short_queue_name}
    session.ways.doors.work(settings, queue=names.get(queue, queue))


def inference(ctx: typer.Context) -> None:
    """Run one inference worker: it answers questions to trained models and keeps those asked for last in memory."""
    session = session_of(ctx)
    session.ways.doors.answer(session.settings())


def maintenance(ctx: typer.Context) -> None:
    """Run the clock: rescue lost runs, remove leftovers."""
    session = session_of(ctx)
    session.ways.doors.maintain(session.settings())


def discord(
    ctx: typer.Context,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="DIR", help="Use the Redis of the `up` that keeps its state here."),
    ] = None,
) -> None:
    """Run the Discord bot: it listens and speaks to one person, DISCORD_OWNER_ID, in direct messages."""
    from model_trainer.cli.chatting import run_bot

    run_bot(session_of(ctx), state=state)


def rebuild(
    ctx: typer.Context,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take runs that another installation wrote as well.")
    ] = False,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="DIR", help="The folder that `up --state` keeps everything in."),
    ] = None,
) -> None:
    """Bring back the runs that Redis has lost, from their records on disk. Services may be at work meanwhile."""
    from model_trainer.cli.rebuilding import run_rebuild

    run_rebuild(session_of(ctx), adopt=adopt, state=state)


def demo(
    ctx: typer.Context,
    model: Annotated[
        Literal["gpt2", "char_lstm", "text_detector"],
        typer.Option(
            "--model", help="What to train; text_detector: a writer, then who tells it from people."
        ),
    ] = "gpt2",
    state: Annotated[str, typer.Option("--state", metavar="DIR", help="Where everything is kept.")] = ".demo",
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Of the language model; default: what fits two minutes."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the services running until Ctrl-C.")] = False,
) -> None:
    """See the whole path once, on text this machine already has: corpus, tokenizer, training, evaluation."""
    if model == "text_detector":
        from model_trainer.cli.demo_detector import run_detector_demo

        run_detector_demo(session_of(ctx), state=state, steps=steps, keep=keep)
    else:
        from model_trainer.cli.demo import leave, run_demo, stay

        run_demo(session_of(ctx), model=model, state=state, steps=steps, afterwards=stay if keep else leave)
