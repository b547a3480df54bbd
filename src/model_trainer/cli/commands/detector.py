"""Commands that make and use a detector in this process, without a server: `train`, `calibrate`, `evaluate`, `export-onnx`,
`model-card`, `predict`, and `pipeline`, which does the first five."""

from typing import Annotated, Literal, Protocol

import typer

from model_trainer.cli.registration import Group, Seed, SetFields, SpecFile
from model_trainer.cli.session import session_of

Decision = Literal["half", "max_f1", "youden", "fpr_1", "fpr_5", "precision"]
DataPaths = Annotated[
    list[str] | None,
    typer.Option(
        "--data-path", metavar="PATH", help="A .parquet, .csv or .jsonl file, or a folder. Repeatable."
    ),
]
OutputDir = Annotated[
    str | None,
    typer.Option("--output-dir", metavar="DIR", help="Where the artifact's files are shown, flat."),
]
TextCol = Annotated[str | None, typer.Option("--text-col", help="Column of the texts; left out: found.")]
LabelCol = Annotated[str | None, typer.Option("--label-col", help="Column of the labels; left out: found.")]
LabelMap = Annotated[
    list[str] | None,
    typer.Option(
        "--label-map", metavar="VALUE=CLASS", help="What a label means: --label-map 0=human. Repeatable."
    ),
]
DefaultLabel = Annotated[
    str | None,
    typer.Option("--unlabeled-default-label", help="Class of texts in files without labels: human or ai."),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model-name", help="An encoder of the hub, or a folder; with --from-scratch its architecture alone."
    ),
]
FromScratch = Annotated[bool, typer.Option("--from-scratch", help="Begin with random weights.")]
Layers = Annotated[int | None, typer.Option("--layers", help="Of an encoder from scratch.")]
HiddenSize = Annotated[int | None, typer.Option("--hidden-size", help="Its width.")]
AttentionHeads = Annotated[int | None, typer.Option("--attention-heads", help="Must divide the width.")]
FfnSize = Annotated[int | None, typer.Option("--ffn-size", help="Width of its feed-forward layers.")]
MaxPositions = Annotated[
    int | None, typer.Option("--max-position-embeddings", help="Most tokens in a window.")
]
MinParams = Annotated[
    int | None, typer.Option("--min-params", help="Refuse to train a model with fewer parameters.")
]
Epochs = Annotated[float | None, typer.Option("--epochs", help="Passes over the training texts.")]
GpuBf16 = Annotated[
    bool, typer.Option("--gpu-bf16", help="Compute in bf16 on CUDA; with --gpu-fp16, where the GPU has it.")
]
GpuFp16 = Annotated[bool, typer.Option("--gpu-fp16", help="Compute in fp16 with loss scaling on CUDA.")]
GpuTf32 = Annotated[bool, typer.Option("--gpu-tf32", help="Multiply fp32 matrices in TF32 on CUDA.")]
TpuBf16 = Annotated[bool, typer.Option("--tpu-bf16", help="Refused until there is a TPU engine.")]
Quantize = Annotated[bool, typer.Option("--quantize", help="Offer int8 weights, behind the gate.")]
Resume = Annotated[
    str | None,
    typer.Option("--resume", metavar="RUN_ID", help="Go on with a training that Ctrl-C has stopped."),
]
ArtifactDir = Annotated[
    str | None,
    typer.Option(
        "--artifact-dir", metavar="DIR", help="An --output-dir; files not named below are taken from here."
    ),
]
ModelDir = Annotated[
    str | None, typer.Option("--model-dir", metavar="DIR", help="Weights and tokenizer (model/).")
]
ValLogits = Annotated[str | None, typer.Option("--val-logits", metavar="FILE", help="val_logits.npz")]
TestLogits = Annotated[str | None, typer.Option("--test-logits", metavar="FILE", help="test_logits.npz")]
CalibrationFile = Annotated[
    str | None, typer.Option("--calibration", metavar="FILE", help="calibration.json")
]
TrainingConfigFile = Annotated[
    str | None, typer.Option("--training-config", metavar="FILE", help="training_config.json")
]
MetricsFile = Annotated[str | None, typer.Option("--metrics", metavar="FILE", help="eval_metrics.json")]
OutputFile = Annotated[str | None, typer.Option("--output", metavar="FILE", help="Where the result goes.")]
BundleDir = Annotated[str | None, typer.Option("--bundle-dir", metavar="DIR", help="runtime_bundle/")]


def register(root: Group) -> None:
    """Adds the commands."""
    root.command("train")(
        _training("Train a text detector here, without a server, as far as its logits.", finish=False)
    )
    root.command("calibrate")(calibrate)
    root.command("evaluate")(evaluate)
    root.command("export-onnx")(export_onnx)
    root.command("model-card")(model_card)
    root.command("predict")(predict)
    root.command("pipeline")(
        _training(
            "Train, calibrate, evaluate, export and describe a text detector here, without a server.",
            finish=True,
        )
    )


class _TrainingCommand(Protocol):
    """One of two commands that differ in how far they go."""

    __doc__: str | None

    def __call__(self, ctx: typer.Context) -> None: ...


def _training(help_text: str, *, finish: bool) -> "_TrainingCommand":
    """A command that trains a detector; with `finish` all that follows a training is done too."""

    def command(
        ctx: typer.Context,
        file: SpecFile = None,
        data_path: DataPaths = None,
        output_dir: OutputDir = None,
        text_col: TextCol = None,
        label_col: LabelCol = None,
        label_map: LabelMap = None,
        unlabeled_default_label: DefaultLabel = None,
        model_name: ModelName = None,
        from_scratch: FromScratch = False,
        layers: Layers = None,
        hidden_size: HiddenSize = None,
        attention_heads: AttentionHeads = None,
        ffn_size: FfnSize = None,
        max_position_embeddings: MaxPositions = None,
        min_params: MinParams = None,
        epochs: Epochs = None,
        gpu_bf16: GpuBf16 = False,
        gpu_fp16: GpuFp16 = False,
        gpu_tf32: GpuTf32 = False,
        tpu_bf16: TpuBf16 = False,
        quantize: Quantize = False,
        seed: Seed = None,
        set_fields: SetFields = None,
        resume: Resume = None,
    ) -> None:
        from model_trainer.cli.detecting import Wishes, run_training

        wishes = Wishes(
            file=file,
            data_paths=data_path or (),
            text_col=text_col,
            label_col=label_col,
            label_map=label_map or (),
            unlabeled_default_label=unlabeled_default_label,
            model_name=model_name,
            from_scratch=from_scratch,
            layers=layers,
            hidden_size=hidden_size,
            attention_heads=attention_heads,
            ffn_size=ffn_size,
            max_position_embeddings=max_position_embeddings,
            min_params=min_params,
            epochs=epochs,
            gpu_bf16=gpu_bf16,
            gpu_fp16=gpu_fp16,
            gpu_tf32=gpu_tf32,
            tpu_bf16=tpu_bf16,
            quantize=quantize,
            seed=seed,
            settings=set_fields or (),
        )
        run_training(session_of(ctx), wishes, output_dir=output_dir, resume=resume, finish=finish)

    command.__doc__ = help_text
    return command


def calibrate(
    ctx: typer.Context,
    artifact_dir: ArtifactDir = None,
    val_logits: ValLogits = None,
    training_config: TrainingConfigFile = None,
    output: OutputFile = None,
    set_fields: SetFields = None,
) -> None:
    """Fit temperature and thresholds on validation logits. --set takes any field of the API's body (fit_bias=true)."""
    from model_trainer.cli.detector_files import Places
    from model_trainer.cli.detector_stages import run_calibration

    places = Places(artifact_dir, val_logits=val_logits, training_config=training_config, calibration=output)
    run_calibration(session_of(ctx), places, settings=set_fields or ())


def evaluate(
    ctx: typer.Context,
    artifact_dir: ArtifactDir = None,
    test_logits: TestLogits = None,
    calibration: CalibrationFile = None,
    training_config: TrainingConfigFile = None,
    output: OutputFile = None,
    set_fields: SetFields = None,
) -> None:
    """Measure a detector by its test logits: metrics, slices, robustness, plots beside them."""
    from model_trainer.cli.detector_files import Places
    from model_trainer.cli.detector_stages import run_evaluation

    places = Places(
        artifact_dir,
        test_logits=test_logits,
        calibration=calibration,
        training_config=training_config,
        metrics=output,
    )
    run_evaluation(session_of(ctx), places, settings=set_fields or ())


def export_onnx(
    ctx: typer.Context,
    artifact_dir: ArtifactDir = None,
    model_dir: ModelDir = None,
    calibration: CalibrationFile = None,
    training_config: TrainingConfigFile = None,
    output: OutputFile = None,
    bundle_dir: BundleDir = None,
    quantize: Quantize = False,
    data_path: DataPaths = None,
) -> None:
    """Write model.onnx and the runtime bundle. --quantize tries int8 on validation texts (--data-path where the training's
    files have moved)."""
    from model_trainer.cli.detector_files import Places
    from model_trainer.cli.detector_stages import run_export

    places = Places(
        artifact_dir,
        model=model_dir,
        calibration=calibration,
        training_config=training_config,
        onnx=output,
        bundle=bundle_dir,
    )
    run_export(session_of(ctx), places, quantize=quantize, data_paths=data_path or ())


def model_card(
    ctx: typer.Context,
    artifact_dir: ArtifactDir = None,
    metrics: MetricsFile = None,
    training_config: TrainingConfigFile = None,
    calibration: CalibrationFile = None,
    output: OutputFile = None,
) -> None:
    """Write model_card.json, and README.md for the Hub beside it."""
    from model_trainer.cli.detector_files import Places
    from model_trainer.cli.detector_stages import run_card

    places = Places(
        artifact_dir,
        metrics=metrics,
        training_config=training_config,
        calibration=calibration,
        card=output,
    )
    run_card(session_of(ctx), places)


def predict(
    ctx: typer.Context,
    bundle_dir: Annotated[str, typer.Option("--bundle-dir", metavar="DIR", help="runtime_bundle/")],
    data_path: DataPaths = None,
    text_col: TextCol = None,
    output: Annotated[
        str, typer.Option("--output", metavar="FILE", help="A .csv or .jsonl file; - for JSON lines here.")
    ] = "-",
    decision: Annotated[
        Decision | None, typer.Option("--decision", help="Which threshold decides; default: the bundle's.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts judged at a time.")] = 64,
) -> None:
    """Judge the texts of files with a runtime bundle."""
    from model_trainer.cli.judging import run_prediction

    run_prediction(
        session_of(ctx),
        bundle=bundle_dir,
        data_paths=data_path or (),
        text_col=text_col,
        output=output,
        decision=decision,
        batch_size=batch_size,
    )
