"""`model-trainer run ...`: trainings, and what is done with trained models."""

from typing import Annotated

import typer

from model_trainer.cli.commands import asking
from model_trainer.cli.registration import (
    CorpusPath,
    Decision,
    Group,
    LabelFilters,
    Labels,
    MaxItems,
    RunIdArgument,
    Seed,
    SetFields,
    SpecFile,
    StatusFilter,
    UserId,
    WatchFlag,
    new_group,
)
from model_trainer.cli.session import session_of

FamilyFilter = Annotated[str | None, typer.Option("--family", help="Only this model family.")]


def group() -> typer.Typer:
    """The group."""
    app = new_group("Train models, watch them, evaluate them, use them.")
    runs: Group = app
    runs.command("train")(train)
    runs.command("list")(list_runs)
    runs.command("show")(show)
    runs.command("watch")(watch)
    runs.command("logs")(logs)
    runs.command("cancel")(cancel)
    runs.command("pause")(pause)
    runs.command("resume")(resume)
    runs.command("checkpoints")(checkpoints)
    runs.command("evaluate")(evaluate)
    runs.command("evaluations")(evaluations)
    runs.command("calibrate")(calibrate)
    runs.command("export")(export)
    runs.command("model-card")(model_card)
    asking.register(runs)
    return app


def train(
    ctx: typer.Context,
    file: SpecFile = None,
    family: Annotated[str | None, typer.Option("--family", help="gpt2, text_detector, ...")] = None,
    corpus: CorpusPath = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="ID", help="A completed tokenizer.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="A preset of the family: tiny, small, ...")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimizer steps.")] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="Passes over the corpus, instead of steps.")
    ] = None,
    seq_len: Annotated[int | None, typer.Option("--seq-len", help="Tokens in a training window.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Windows in a micro-batch.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak learning rate.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="auto, fp32, fp16 or bf16.")] = None,
    checkpoint_every_seconds: Annotated[
        float | None, typer.Option("--checkpoint-every-seconds", help="Seconds between checkpoints.")
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--init-from", metavar="RUN_ID[@STEP]", help="Begin with the weights of an earlier training."
        ),
    ] = None,
    keep_optimizer: Annotated[
        bool,
        typer.Option("--keep-optimizer", help="With --init-from RUN_ID@STEP: its optimizer's state too."),
    ] = False,
    seed: Seed = None,
    label: Labels = None,
    user_id: UserId = None,
    set_fields: SetFields = None,
    watch: WatchFlag = False,
) -> None:
    """Order a training from a file, from options, or both (options win)."""
    from model_trainer.cli.ordering import order_training
    from model_trainer.cli.spec_file import build_spec, origin

    options = {
        "model_family": family,
        "corpus_path": corpus,
        "tokenizer_id": tokenizer,
        "model_size": size,
        "max_steps": steps,
        "num_epochs": epochs,
        "max_seq_len": seq_len,
        "batch_size": batch_size,
        "optimizer.learning_rate": learning_rate,
        "device": device,
        "precision": precision,
        "checkpoint.every_seconds": checkpoint_every_seconds,
        **origin(init_from),
        "init_from.keep_optimizer": keep_optimizer or None,
        "seed": seed,
        "user_id": user_id,
    }
    spec = build_spec(file, options=options, labels=label or (), settings=set_fields or ())
    order_training(session_of(ctx), spec, watch=watch)


def list_runs(
    ctx: typer.Context,
    status: StatusFilter = None,
    family: FamilyFilter = None,
    label: LabelFilters = None,
    limit: MaxItems = 20,
) -> None:
    """List trainings, newest first."""
    from model_trainer.cli.reading import list_runs as show_list

    show_list(session_of(ctx), filters={"status": status, "family": family}, labels=label or (), limit=limit)


def show(ctx: typer.Context, run_id: RunIdArgument) -> None:
    """Show one run: status, progress, metrics, what went wrong."""
    from model_trainer.cli.reading import show_run

    show_run(session_of(ctx), run_id)


def watch(ctx: typer.Context, run_id: RunIdArgument) -> None:
    """Follow a run (a training, a tokenizer, an evaluation) to its end. Ctrl-C detaches; the run goes on."""
    from model_trainer.cli.watching import watch_run

    watch_run(session_of(ctx), run_id)


def logs(
    ctx: typer.Context,
    run_id: RunIdArgument,
    tail: Annotated[int, typer.Option("--tail", min=0, help="Lines to start with.")] = 200,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay for new lines until the run ends.")
    ] = False,
) -> None:
    """Print a run's log, one JSON object a line."""
    from model_trainer.cli.reading import follow_logs, print_logs

    (follow_logs if follow else print_logs)(session_of(ctx), run_id, tail=tail)


def cancel(ctx: typer.Context, run_id: RunIdArgument) -> None:
    """Stop a run within one step; its checkpoints stay."""
    from model_trainer.cli.ordering import cancel_run

    cancel_run(session_of(ctx), run_id)


def pause(ctx: typer.Context, run_id: RunIdArgument) -> None:
    """Have a training save a checkpoint and stand still; its worker is free then."""
    from model_trainer.cli.ordering import pause_run

    pause_run(session_of(ctx), run_id)


def resume(
    ctx: typer.Context,
    run_id: RunIdArgument,
    step: Annotated[
        int | None,
        typer.Option("--step", min=0, help="Go on from this checkpoint; those after it are removed."),
    ] = None,
    watch: WatchFlag = False,
) -> None:
    """Let a training that is paused, failed or cancelled go on from its newest checkpoint."""
    from model_trainer.cli.ordering import resume_run

    resume_run(session_of(ctx), run_id, step=step, watch=watch)


def checkpoints(ctx: typer.Context, run_id: RunIdArgument) -> None:
    """Show what a training can go on from, or begin from (--init-from)."""
    from model_trainer.cli.reading import show_checkpoints

    show_checkpoints(session_of(ctx), run_id)


def evaluate(
    ctx: typer.Context,
    run_id: RunIdArgument,
    split: Annotated[str | None, typer.Option("--split", help="validation, test or train.")] = None,
    corpus: CorpusPath = None,
    data_path: Annotated[
        list[str] | None,
        typer.Option("--data-path", metavar="PATH", help="For a detector: labelled texts. Repeatable."),
    ] = None,
    compare_to: Annotated[
        str | None, typer.Option("--compare-to", metavar="RUN_ID", help="Flag a regression.")
    ] = None,
    set_fields: SetFields = None,
    watch: WatchFlag = False,
) -> None:
    """Evaluate a trained model on one of its splits, or on text it never saw (--corpus, --data-path)."""
    from model_trainer.cli.ordering import order_evaluation
    from model_trainer.cli.spec_file import build_spec

    options = {
        "split": split or (None if corpus or data_path else "validation"),
        "corpus_path": corpus,
        "compare_to_run_id": compare_to,
    }
    spec = build_spec(None, options=options, labels=(), settings=set_fields or ())
    if data_path:
        spec["data_paths"] = [*data_path]
    order_evaluation(session_of(ctx), run_id, spec, watch=watch)


def evaluations(ctx: typer.Context, run_id: RunIdArgument) -> None:
    """Show what evaluations of a model found: on which text, and against which other run."""
    from model_trainer.cli.reading import show_evaluations

    show_evaluations(session_of(ctx), run_id)


def calibrate(
    ctx: typer.Context,
    run_id: RunIdArgument,
    decision: Decision = None,
    target_precision: Annotated[
        float | None, typer.Option("--target-precision", help="Of the threshold called precision.")
    ] = None,
    fit_bias: Annotated[
        bool, typer.Option("--fit-bias", help="A bias beside the temperature (Platt scaling).")
    ] = False,
    set_fields: SetFields = None,
    watch: WatchFlag = False,
) -> None:
    """Fit a detector's probabilities and thresholds anew, on its validation split."""
    from model_trainer.cli.ordering import order_calibration
    from model_trainer.cli.spec_file import build_spec

    options = {
        "decision": decision,
        "target_precision": target_precision,
        "fit_bias": fit_bias or None,
    }
    spec = build_spec(None, options=options, labels=(), settings=set_fields or ())
    order_calibration(session_of(ctx), run_id, spec, watch=watch)


def export(
    ctx: typer.Context,
    run_id: RunIdArgument,
    quantize: Annotated[
        bool,
        typer.Option("--quantize", help="Offer int8 weights; they are taken when the gate lets them pass."),
    ] = False,
    set_fields: SetFields = None,
    watch: WatchFlag = False,
) -> None:
    """Write a detector's ONNX file and runtime bundle anew."""
    from model_trainer.cli.ordering import order_export
    from model_trainer.cli.spec_file import build_spec

    spec = build_spec(None, options={"quantize": quantize or None}, labels=(), settings=set_fields or ())
    order_export(session_of(ctx), run_id, spec, watch=watch)


def model_card(ctx: typer.Context, run_id: RunIdArgument) -> None:
    """Show what a detector is: data, metrics with intervals, calibration, limits."""
    from model_trainer.cli.reading import show_model_card

    show_model_card(session_of(ctx), run_id)
