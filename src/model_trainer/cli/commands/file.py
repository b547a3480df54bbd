"""`model-trainer file ...`: files of the store, by their SHA-256."""

from typing import Annotated

import typer

from model_trainer.cli.registration import Group, new_group
from model_trainer.cli.session import session_of

FileIdArgument = Annotated[str, typer.Argument(metavar="FILE_ID", help="The SHA-256 of the file.")]


def group() -> typer.Typer:
    """The group."""
    app = new_group("Store files, and use them by their digest wherever a path of data is asked for.")
    files: Group = app
    files.command("upload")(upload)
    files.command("list")(list_files)
    files.command("show")(show)
    files.command("get")(get)
    files.command("delete")(delete)
    return app


def upload(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files of this machine.")],
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="UPLOAD_ID", help="Go on with an upload of the file that broke off."
        ),
    ] = None,
) -> None:
    """Store files. A large one goes in parts, over as many connections as it takes; its upload's id is said beforehand."""
    from model_trainer.cli.files import upload_files

    upload_files(session_of(ctx), paths, resume=resume)


def list_files(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Option("--prefix", help="Only files whose id begins so.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 20,
) -> None:
    """List files in the order of their ids."""
    from model_trainer.cli.files import list_stored

    list_stored(session_of(ctx), prefix=prefix, limit=limit)


def show(ctx: typer.Context, file_id: FileIdArgument) -> None:
    """Show one file: its size, and how it is named in a request."""
    from model_trainer.cli.files import show_file

    show_file(session_of(ctx), file_id)


def get(
    ctx: typer.Context,
    file_id: FileIdArgument,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; default: the id.")
    ] = None,
) -> None:
    """Fetch a file, verified by digest; an interrupted fetch goes on where it stopped."""
    from model_trainer.cli.files import get_file

    get_file(session_of(ctx), file_id, target=output or file_id)


def delete(ctx: typer.Context, file_id: FileIdArgument) -> None:
    """Remove a file that no run needs."""
    from model_trainer.cli.files import delete_file

    delete_file(session_of(ctx), file_id)
