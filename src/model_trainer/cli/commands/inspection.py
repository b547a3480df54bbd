"""Commands that look: `doctor`, `families`, `config show`, `openapi`."""

from typing import Annotated

import typer

from model_trainer.cli.registration import Group, new_group
from model_trainer.cli.session import session_of


def register(root: Group) -> None:
    """Adds the commands."""
    root.command("doctor")(doctor)
    root.command("families")(families)
    root.command("openapi")(openapi)


def config_group() -> typer.Typer:
    """`model-trainer config ...`."""
    app = new_group("The settings of this installation.")
    config: Group = app
    config.callback()(about_config)
    config.command("show")(show_config)
    return app


def about_config() -> None:
    """The settings of this installation."""


def doctor(ctx: typer.Context) -> None:
    """What this machine has, what is missing, how to fix it. Fails when something essential is missing."""
    from model_trainer.cli.doctor import examine

    examine(session_of(ctx))


def families(ctx: typer.Context) -> None:
    """What can be trained here: model families and kinds of tokenizer."""
    from model_trainer.cli.reading import list_families

    list_families(session_of(ctx))


def show_config(ctx: typer.Context) -> None:
    """The settings in effect and where each comes from; secrets are masked."""
    from model_trainer.cli.effective_settings import show_settings

    show_settings(session_of(ctx))


def openapi(
    ctx: typer.Context,
    output: Annotated[str | None, typer.Option("--output", metavar="FILE", help="Write it there.")] = None,
    check: Annotated[
        str | None, typer.Option("--check", metavar="FILE", help="Fail when this file is out of date.")
    ] = None,
) -> None:
    """Print the API's description (OpenAPI)."""
    from model_trainer.cli.openapi_file import check_openapi, print_openapi, write_openapi

    session = session_of(ctx)
    if check is not None:
        check_openapi(session, check)
    elif output is not None:
        write_openapi(session, output)
    else:
        print_openapi(session)
