"""`model-trainer tokenizer ...`."""

from typing import Annotated

import typer

from model_trainer.cli.registration import (
    CorpusPath,
    Group,
    LabelFilters,
    Labels,
    MaxItems,
    Seed,
    SetFields,
    SpecFile,
    StatusFilter,
    UserId,
    WatchFlag,
    new_group,
)
from model_trainer.cli.session import session_of


def group() -> typer.Typer:
    """The group."""
    app = new_group("Train tokenizers and look at them.")
    tokenizers: Group = app
    tokenizers.command("train")(train)
    tokenizers.command("list")(list_tokenizers)
    tokenizers.command("show")(show)
    return app


def train(
    ctx: typer.Context,
    file: SpecFile = None,
    method: Annotated[str | None, typer.Option("--method", help="bpe, sentencepiece, char, ...")] = None,
    corpus: CorpusPath = None,
    vocab_size: Annotated[
        int | None, typer.Option("--vocab-size", help="Entries, special tokens included.")
    ] = None,
    min_frequency: Annotated[
        int | None, typer.Option("--min-frequency", help="What is rarer does not enter.")
    ] = None,
    holdout: Annotated[
        float | None, typer.Option("--holdout", help="Share kept out of training, measured after.")
    ] = None,
    seed: Seed = None,
    label: Labels = None,
    user_id: UserId = None,
    set_fields: SetFields = None,
    watch: WatchFlag = False,
) -> None:
    """Order a tokenizer from a file, from options, or both (options win)."""
    from model_trainer.cli.ordering import order_tokenizer
    from model_trainer.cli.spec_file import build_spec

    options = {
        "method": method,
        "corpus_path": corpus,
        "vocab_size": vocab_size,
        "min_frequency": min_frequency,
        "holdout_fraction": holdout,
        "seed": seed,
        "user_id": user_id,
    }
    spec = build_spec(file, options=options, labels=label or (), settings=set_fields or ())
    order_tokenizer(session_of(ctx), spec, watch=watch)


def list_tokenizers(
    ctx: typer.Context,
    status: StatusFilter = None,
    method: Annotated[str | None, typer.Option("--method", help="Only this kind.")] = None,
    label: LabelFilters = None,
    limit: MaxItems = 20,
) -> None:
    """List tokenizers, newest first."""
    from model_trainer.cli.reading import list_tokenizers as show_list

    show_list(session_of(ctx), filters={"status": status, "method": method}, labels=label or (), limit=limit)


def show(ctx: typer.Context, tokenizer_id: Annotated[str, typer.Argument(metavar="TOKENIZER_ID")]) -> None:
    """Show one tokenizer: status, size, what was measured on the holdout."""
    from model_trainer.cli.reading import show_tokenizer

    show_tokenizer(session_of(ctx), tokenizer_id)
