"""`model-trainer artifact ...`: the files of finished tokenizers and models."""

from typing import Annotated, Literal

import typer

from model_trainer.cli.registration import Group, new_group
from model_trainer.cli.session import session_of

KindArgument = Annotated[Literal["models", "tokenizers"], typer.Argument(help="models or tokenizers")]
ItemId = Annotated[str, typer.Argument(metavar="ID", help="The run id of a model, or a tokenizer id.")]


def group() -> typer.Typer:
    """The group."""
    app = new_group("List and fetch the files of tokenizers and models.")
    artifacts: Group = app
    artifacts.command("list")(list_files)
    artifacts.command("get")(get)
    return app


def list_files(ctx: typer.Context, kind: KindArgument, item_id: ItemId) -> None:
    """List the files of one tokenizer or model, with sizes and digests."""
    from model_trainer.cli.artifacts import list_artifact

    list_artifact(session_of(ctx), kind, item_id)


def get(
    ctx: typer.Context,
    kind: KindArgument,
    item_id: ItemId,
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="Only these files.")] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="Where to; default: the id.")
    ] = None,
) -> None:
    """Fetch files, verified by digest; an interrupted fetch goes on where it stopped. Checkpoints only when named."""
    from model_trainer.cli.artifacts import get_artifact

    get_artifact(session_of(ctx), kind, item_id, paths=paths or (), folder=output or item_id)
