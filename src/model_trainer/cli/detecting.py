"""`model-trainer train` and `pipeline`: a detector trained in this process, shown in an --output-dir."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_trainer.cli import rendering
from model_trainer.cli.detector_files import check_output_dir, show_artifact
from model_trainer.cli.local import LocalWork, completed
from model_trainer.cli.session import Session
from model_trainer.cli.spec_file import build_spec
from model_trainer.client.views import RunView
from model_trainer.container import local
from model_trainer.core.artifact_files import DATA_REPORT
from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject, as_json
from model_trainer.core.contracts.data_report import DataReport
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode, FieldFault

FAMILY = "text_detector"
CLASSES = {"human": 0, "ai": 1, "0": 0, "1": 1}
_TPU = "there is no TPU engine yet: leave --tpu-bf16 out, the training then runs on CUDA or the CPU"


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options of a training, as they were typed."""

    file: str | None
    data_paths: Sequence[str]
    text_col: str | None
    label_col: str | None
    label_map: Sequence[str]
    unlabeled_default_label: str | None
    model_name: str | None
    from_scratch: bool
    layers: int | None
    hidden_size: int | None
    attention_heads: int | None
    ffn_size: int | None
    max_position_embeddings: int | None
    min_params: int | None
    epochs: float | None
    gpu_bf16: bool
    gpu_fp16: bool
    gpu_tf32: bool
    tpu_bf16: bool
    quantize: bool
    seed: int | None
    settings: Sequence[str]


NOTHING = Wishes(
    file=None,
    data_paths=(),
    text_col=None,
    label_col=None,
    label_map=(),
    unlabeled_default_label=None,
    model_name=None,
    from_scratch=False,
    layers=None,
    hidden_size=None,
    attention_heads=None,
    ffn_size=None,
    max_position_embeddings=None,
    min_params=None,
    epochs=None,
    gpu_bf16=False,
    gpu_fp16=False,
    gpu_tf32=False,
    tpu_bf16=False,
    quantize=False,
    seed=None,
    settings=(),
)
"""No option at all."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What this machine's largest GPU can do, as far as flags ask."""

    machine: Machine
    has_bf16: bool


def probe_gpu() -> Gpu:
    """This machine's."""
    from model_trainer.engine.devices import cuda_has_bf16, probe_machine

    return Gpu(machine=probe_machine(), has_bf16=cuda_has_bf16())


def run_training(
    session: Session,
    wishes: Wishes,
    *,
    output_dir: str | None,
    resume: str | None,
    finish: bool,
    probe: Callable[[], Gpu] = probe_gpu,
) -> None:
    """Trains, or goes on with run `resume`; what came out appears in `output_dir` and is summed up."""
    if wishes.quantize and not finish:
        raise _refused("--quantize", "training exports nothing: give it to `pipeline` or `export-onnx`")
    if resume is not None and wishes != NOTHING:
        raise _refused("--resume", "the training goes on as it was ordered: leave the other options out")
    if output_dir is not None:
        check_output_dir(Path(output_dir))  # now, not when hours of training are over
    settings = session.settings()
    session.ways.doors.log_quietly(settings)
    container = local(settings)
    work = LocalWork(container, session.output)
    if resume is not None:
        record = work.resume(resume)
    else:
        record = work.train(body_of(wishes, finish=finish, probe=probe))
    record = completed(record)
    artifact = container.artifacts.folder("models", record.run_id)
    for line in evidence(DataReport.model_validate_json((artifact / DATA_REPORT).read_bytes())):
        session.output.note(line)
    session.output.note(f"Artifact: {artifact}")
    if output_dir is not None:
        show_artifact(artifact, Path(output_dir))
        session.output.note(f"Shown in: {output_dir}")
    session.output.show(as_json(record), render=lambda: rendering.run_card(_view(record)))


def evidence(report: DataReport) -> list[str]:
    """What columns and labels were taken for, file by file, with the reasons; then what is odd about the texts."""
    lines: list[str] = []
    for file in report.files:
        lines += [
            f"{file.path}: {choice.role} is column {choice.column!r} ({choice.evidence})"
            for choice in file.columns
            if choice.column is not None
        ]
        lines += [
            f"{file.path}: label {meaning.value!r} means {'AI' if meaning.label else 'human'} ({meaning.evidence})"
            for meaning in file.labels
        ]
    lines += [f"warning: shortcut: {finding.message}" for finding in report.audit if finding.is_shortcut]
    return [*lines, *(f"warning: {warning}" for warning in report.warnings)]


def body_of(wishes: Wishes, *, finish: bool, probe: Callable[[], Gpu]) -> JsonObject:
    """The body that POST /runs/train would get, with paths that hold from anywhere."""
    options = {
        "columns.text_col": wishes.text_col,
        "columns.label_col": wishes.label_col,
        "columns.unlabeled_default_label": _class_of(
            "--unlabeled-default-label", wishes.unlabeled_default_label
        ),
        **{
            f"columns.label_map.{value}": _class_of("--label-map", meaning)
            for value, meaning in map(_pair, wishes.label_map)
        },
        "model_name": _encoder(wishes.model_name),
        "from_scratch": wishes.from_scratch or None,
        "layers": wishes.layers,
        "hidden_size": wishes.hidden_size,
        "attention_heads": wishes.attention_heads,
        "ffn_size": wishes.ffn_size,
        "max_position_embeddings": wishes.max_position_embeddings,
        "min_params": wishes.min_params,
        "num_epochs": wishes.epochs,
        "export.quantize": wishes.quantize or None,
        "seed": wishes.seed,
        **_precision(wishes, probe),
    }
    body = build_spec(wishes.file, options=options, labels=(), settings=wishes.settings)
    named = body.get("data_paths")
    given = [*(named if isinstance(named, list) else []), *wishes.data_paths]
    if not given:
        raise _refused("--data-path", "name the labelled files: --data-path texts.csv")
    return {
        "model_family": FAMILY,
        **body,
        "data_paths": [str(Path(str(path)).resolve()) for path in given],
        "finish": finish,
    }


def _precision(wishes: Wishes, probe: Callable[[], Gpu]) -> dict[str, str | int | None]:
    """The --gpu flags are wishes for a GPU: without one they are refused, not forgotten."""
    if wishes.tpu_bf16:
        raise _refused("--tpu-bf16", _TPU, code=ErrorCode.DEVICE_UNAVAILABLE)
    if not (wishes.gpu_bf16 or wishes.gpu_fp16 or wishes.gpu_tf32):
        return {}
    gpu = probe()
    asked = {"--gpu-bf16": wishes.gpu_bf16, "--gpu-fp16": wishes.gpu_fp16, "--gpu-tf32": wishes.gpu_tf32}
    flag = next(name for name, given in asked.items() if given)
    if not gpu.machine.has_cuda:
        raise _refused(flag, "there is no CUDA device here: leave it out", code=ErrorCode.DEVICE_UNAVAILABLE)
    tf32 = {"tf32": True if wishes.gpu_tf32 else None}
    if wishes.gpu_bf16 and (gpu.has_bf16 or not wishes.gpu_fp16):
        if not gpu.has_bf16:
            message = "this GPU has no bf16: ask for --gpu-fp16"
            raise _refused("--gpu-bf16", message, code=ErrorCode.DEVICE_UNAVAILABLE)
        return {"device": "cuda", "precision": "bf16", **tf32}
    return {"device": "cuda", "precision": "fp16" if wishes.gpu_fp16 else "fp32", **tf32}


def _encoder(model_name: str | None) -> str | None:
    """A folder by its whole path: the job's own working folder is not part of what was asked."""
    if model_name is not None and Path(model_name).is_dir():
        return str(Path(model_name).resolve())
    return model_name


def _class_of(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    if text.lower() not in CLASSES:
        raise _refused(option, f"{text!r} is no class: say human or ai")
    return CLASSES[text.lower()]


def _pair(text: str) -> tuple[str, str]:
    value, equals, meaning = text.rpartition("=")
    if not equals or not value:
        raise _refused("--label-map", f"{text!r} is not of the form VALUE=human or VALUE=ai")
    return value, meaning


def _view(record: RunRecord) -> RunView:
    return RunView.model_validate_json(record.model_dump_json())


def _refused(option: str, message: str, *, code: ErrorCode = ErrorCode.CONFIG_INVALID) -> AppError:
    return AppError(code, f"{option}: {message}.", faults=[FieldFault(option, message)])
