"""The part of Typer that puts functions behind command names, typed, and options that several commands share."""

from collections.abc import Callable
from typing import Annotated, ParamSpec, Protocol

import typer

P = ParamSpec("P")


class Register(Protocol):
    """Takes the function of a command."""

    def __call__(self, function: Callable[P, None], /) -> object: ...


class Group(Protocol):
    """A typer.Typer, as far as it is used here."""

    def command(self, name: str, /) -> Register: ...
    def callback(self) -> Register: ...


def new_group(help_text: str) -> typer.Typer:
    """An empty group of commands."""
    return typer.Typer(
        help=help_text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )


WatchFlag = Annotated[
    bool, typer.Option("--watch", help="Stay and show how it goes; Ctrl-C detaches, the run goes on.")
]
SpecFile = Annotated[
    str | None,
    typer.Argument(
        metavar="[FILE]", help="YAML or JSON with the same fields as the API's body; - reads standard input."
    ),
]
SetFields = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any field, typed as in YAML: --set optimizer.name=muon. Repeatable; wins over the file.",
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="A label of your own (metadata). Repeatable."),
]
CorpusPath = Annotated[
    str | None, typer.Option("--corpus", metavar="PATH", help="File or folder under the data root.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Fixes everything that is drawn.")]
UserId = Annotated[str | None, typer.Option("--user-id", help="Who asks; carried on every event.")]
StatusFilter = Annotated[
    str | None, typer.Option("--status", help="queued, running, completed, failed, cancelled, ...")
]
LabelFilters = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="Only those that carry this label. Repeatable."),
]
MaxItems = Annotated[int, typer.Option("--limit", min=1, help="At most this many, newest first.")]
RunIdArgument = Annotated[str, typer.Argument(metavar="RUN_ID")]
Decision = Annotated[
    str | None,
    typer.Option(
        "--decision", metavar="NAME", help="The threshold: half, max_f1, youden, fpr_1, fpr_5 or precision."
    ),
]
StateFolder = Annotated[
    str | None,
    typer.Option(
        "--state", metavar="DIR", help="Keep everything in this folder, corpora included, and read no .env."
    ),
]
