"""`model-trainer cleanup ...`: what the maintenance process cleans, once and on request."""

from typing import Annotated

import typer

from model_trainer.cli.registration import Group, new_group
from model_trainer.cli.session import session_of

DryRun = Annotated[bool, typer.Option("--dry-run", help="Remove nothing, only say what would go.")]
State = Annotated[
    str | None,
    typer.Option("--state", metavar="DIR", help="The folder that `up --state` keeps everything in."),
]


def group() -> typer.Typer:
    """The group."""
    app = new_group("Remove what is not needed on this machine any more.")
    cleanups: Group = app
    cleanups.command("artifacts")(artifacts)
    cleanups.command("corpus-cache")(corpus_cache)
    cleanups.command("tokenizers")(tokenizers)
    return app


def artifacts(ctx: typer.Context, dry_run: DryRun = False, state: State = None) -> None:
    """Remove local copies of artifacts that the store has and nobody has used lately (APP__CLEANUP__*)."""
    from model_trainer.cli.cleaning import run_cleanup

    run_cleanup(session_of(ctx), "artifacts", dry_run=dry_run, state=state)


def corpus_cache(ctx: typer.Context, dry_run: DryRun = False, state: State = None) -> None:
    """Bring the corpus cache within its bounds (APP__CORPUS_CACHE__*)."""
    from model_trainer.cli.cleaning import run_cleanup

    run_cleanup(session_of(ctx), "corpus-cache", dry_run=dry_run, state=state)


def tokenizers(ctx: typer.Context, dry_run: DryRun = False, state: State = None) -> None:
    """Remove tokenizers that nothing was made with (APP__TOKENIZER_CLEANUP__MIN_UNUSED_DAYS)."""
    from model_trainer.cli.cleaning import run_cleanup

    run_cleanup(session_of(ctx), "tokenizers", dry_run=dry_run, state=state)
