"""The command `model-trainer`: global options, command groups, exit codes. Imports only what `--help` needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Protocol

import typer

from model_trainer.cli.commands import artifact, cleanup, detector, file, inspection, run, services, tokenizer
from model_trainer.cli.registration import Group, new_group
from model_trainer.cli.session import DEFAULT_API_URL, Session, Ways

FLAGS = frozenset({"--json"})
OPTIONS = frozenset({"--api-url", "--api-key", "--env-file"})

JsonFlag = Annotated[
    bool, typer.Option("--json", help="JSON on standard output, everything else on standard error.")
]
ApiUrl = Annotated[
    str | None,
    typer.Option("--api-url", envvar="API_BASE_URL", help=f"Where the API is; else {DEFAULT_API_URL}."),
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="SECURITY__API_KEY", help="The API's key, if it asks for one."),
]
EnvFile = Annotated[
    str, typer.Option("--env-file", metavar="FILE", help="Settings below the environment; empty: read none.")
]


class _Root(Protocol):
    def __call__(self, *, args: list[str], prog_name: str, obj: Ways) -> object: ...


def call(arguments: Sequence[str], *, ways: Ways) -> int:
    """Runs one command line. Its exit code: 0, 1 for a failure that was explained, 2 for wrong usage, 130 for Ctrl-C."""
    root: _Root = build()
    status = 0
    try:
        root(args=hoist(arguments), prog_name="model-trainer", obj=ways)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except expected_errors() as error:
        explain(error)
        status = 1
    return status


def build() -> typer.Typer:
    """All commands, none of their machinery."""
    app = new_group("Train, evaluate and keep account of tokenizers and language models.")
    app.add_typer(tokenizer.group(), name="tokenizer")
    app.add_typer(run.group(), name="run")
    app.add_typer(artifact.group(), name="artifact")
    app.add_typer(file.group(), name="file")
    app.add_typer(cleanup.group(), name="cleanup")
    app.add_typer(inspection.config_group(), name="config")
    root: Group = app
    root.callback()(remember)
    services.register(root)
    detector.register(root)
    inspection.register(root)
    return app


def remember(
    ctx: typer.Context,
    json: JsonFlag = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    env_file: EnvFile = ".env",
) -> None:
    """Train, evaluate and keep account of tokenizers and language models.

    The options below may stand anywhere on the line.
    """
    from model_trainer.cli.output import Output

    ways: object = ctx.obj
    if not isinstance(ways, Ways):
        raise TypeError("the command line was started without its ways")
    ctx.obj = Session(
        ways=ways,
        output=Output(as_json=json),
        api_url=api_url,
        api_key=api_key,
        env_file=Path(env_file) if env_file else None,
    )


def hoist(arguments: Sequence[str]) -> list[str]:
    """The same words with the global options first, so that they may be typed behind the command as well."""
    first: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in FLAGS or ("=" in word and word.partition("=")[0] in OPTIONS):
            first.append(word)
        elif word in OPTIONS:
            first += [word, *[value for value in (next(words, None),) if value is not None]]
        else:
            rest.append(word)
    return first + rest


def expected_errors() -> tuple[type[Exception], ...]:
    """What is explained in a sentence instead of a stack; looked up only once something went wrong."""
    from model_trainer.core.errors import AppError

    return (AppError, OSError)


def explain(error: Exception) -> None:
    """The sentence, on standard error."""
    from model_trainer.cli.output import Output
    from model_trainer.core.errors import AppError

    output = Output(as_json=False)
    if isinstance(error, AppError):
        output.error(error)
    else:
        output.note(f"error: {error}")
