"""From a spec to a recipe: what `auto` and a value left out mean on one machine.

A family brings its Defaults; which sizes fit together is the family's own business.
"""

from typing import TypeVar, assert_never

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.training import (
    DeviceName,
    OptimizerName,
    Precision,
    Recipe,
    ScheduleName,
    TrainSpec,
)
from model_trainer.core.errors import AppError, ErrorCode, FieldFault

T = TypeVar("T")

MOST_LOADER_WORKERS = 4
CUDA_BATCH_SIZE = 16
"""Windows of a micro-batch on CUDA, for a family that says nothing else."""


class Defaults(Contract):
    """A family's choice for everything that the spec leaves out."""

    max_seq_len: int
    batch_size: int
    """On the CPU."""
    cuda_batch_size: int = CUDA_BATCH_SIZE
    optimizer: OptimizerName
    learning_rate: dict[OptimizerName, float]
    matrix_learning_rate: float
    weight_decay: float
    schedule: ScheduleName
    warmup_steps: int
    gradient_clip_norm: float
    num_epochs: float | None
    """Exactly one of num_epochs and max_steps."""
    max_steps: int | None
    carries_state: bool
    """Reads on where the last window stopped, in training and in evaluation."""


class Placement(Contract):
    """Where a run computes, and how exactly."""

    device: DeviceName
    precision: Precision
    cpu_threads: int
    loader_workers: int
    pin_memory: bool


def place(spec: TrainSpec, machine: Machine) -> Placement:
    """Device, precision and loader for this machine.

    Raises DEVICE_UNAVAILABLE for a device that is not there, CONFIG_INVALID for what the device cannot do.
    """
    device = _device(spec, machine)
    if spec.pin_memory and device == "cpu":
        raise refused(
            "pin_memory", "Page-locked memory serves copies to CUDA: leave pin_memory out on the CPU."
        )
    if spec.tf32 and device == "cpu":
        raise refused("tf32", "TF32 is a mode of CUDA's matrix units: leave tf32 out on the CPU.")
    on_cuda = device == "cuda"
    workers = min(MOST_LOADER_WORKERS, machine.cpu_count) if on_cuda else 0
    return Placement(
        device=device,
        precision=_precision(spec, machine, device),
        cpu_threads=spec.cpu_threads or machine.cpu_count,
        loader_workers=workers if spec.loader_workers is None else spec.loader_workers,
        pin_memory=on_cuda if spec.pin_memory is None else spec.pin_memory,
    )


def make_recipe(
    spec: TrainSpec,
    placement: Placement,
    *,
    defaults: Defaults,
    shape: dict[str, int | float | str | bool],
    vocab_size: int,
) -> Recipe:
    """Every choice made: the spec's where it says something, else the family's."""
    optimizer = _optimizer(spec, defaults)
    max_seq_len = spec.max_seq_len or defaults.max_seq_len
    batch_size = defaults.cuda_batch_size if placement.device == "cuda" else defaults.batch_size
    says_length = spec.num_epochs is not None or spec.max_steps is not None
    return Recipe(
        model_family=spec.model_family,
        shape=shape,
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        data_order="parallel_streams" if defaults.carries_state else "shuffled_windows",
        batch_size=spec.batch_size or batch_size,
        gradient_accumulation_steps=spec.gradient_accumulation_steps,
        optimizer=optimizer,
        learning_rate=spec.optimizer.learning_rate or defaults.learning_rate[optimizer],
        matrix_learning_rate=spec.optimizer.matrix_learning_rate or defaults.matrix_learning_rate,
        weight_decay=_given(spec.optimizer.weight_decay, defaults.weight_decay),
        beta1=spec.optimizer.beta1,
        beta2=spec.optimizer.beta2,
        momentum=_given(spec.optimizer.momentum, 0.95 if optimizer == "muon" else 0.9),
        schedule=spec.schedule.name or defaults.schedule,
        warmup_steps=_given(spec.schedule.warmup_steps, defaults.warmup_steps),
        decay_fraction=spec.schedule.decay_fraction,
        final_fraction=spec.schedule.final_fraction,
        gradient_clip_norm=_given(spec.gradient_clip_norm, defaults.gradient_clip_norm),
        num_epochs=spec.num_epochs if says_length else defaults.num_epochs,
        max_steps=spec.max_steps if says_length else defaults.max_steps,
        log_every_steps=spec.log_every_steps,
        eval_every_steps=spec.eval_every_steps,
        checkpoint=spec.checkpoint,
        early_stopping=spec.early_stopping,
        eval_stride=max_seq_len if defaults.carries_state else max(1, max_seq_len // 2),
        device=placement.device,
        precision=placement.precision,
        tf32=spec.tf32,
        cpu_threads=placement.cpu_threads,
        loader_workers=placement.loader_workers,
        pin_memory=placement.pin_memory,
        seed=spec.seed,
    )


def refuse_loader(spec: TrainSpec) -> None:
    """Raises CONFIG_INVALID for what would prepare batches ahead: those of short texts are padded in the step loop."""
    if spec.loader_workers or spec.pin_memory:
        name = "loader_workers" if spec.loader_workers else "pin_memory"
        raise refused(name, f"This family makes its batches in the step loop: leave {name} out.")


def refused(field: str, message: str) -> AppError:
    """CONFIG_INVALID that names the field."""
    pointer = "/" + field.replace(".", "/")
    return AppError(ErrorCode.CONFIG_INVALID, message, faults=[FieldFault(pointer=pointer, message=message)])


def _device(spec: TrainSpec, machine: Machine) -> DeviceName:
    match spec.device:
        case "auto":
            return "cuda" if machine.has_cuda else "cpu"
        case "cpu":
            return "cpu"
        case "cuda":
            if machine.has_cuda:
                return "cuda"
            message = "There is no CUDA device here: ask for device cpu or auto, or start a worker on a machine with one."
            raise AppError(
                ErrorCode.DEVICE_UNAVAILABLE, message, faults=[FieldFault(pointer="/device", message=message)]
            )
        case _:
            assert_never(spec.device)


def _precision(spec: TrainSpec, machine: Machine, device: DeviceName) -> Precision:
    match spec.precision:
        case "auto":
            if device == "cuda":
                return "fp16"
            return "bf16" if machine.native_bf16 else "fp32"
        case "fp16" if device == "cpu":
            raise refused("precision", "fp16 needs CUDA: ask for fp32, bf16 or auto on the CPU.")
        case "bf16" if device == "cpu" and not machine.native_bf16:
            raise refused("precision", "This CPU does not compute bf16 natively: ask for fp32 or auto.")
        case asked:
            return asked


def _optimizer(spec: TrainSpec, defaults: Defaults) -> OptimizerName:
    asked = spec.optimizer
    if asked.name is not None:
        return asked.name
    if asked.matrix_learning_rate is not None:
        return "muon"
    if asked.momentum is not None and defaults.optimizer == "adamw":
        raise refused(
            "optimizer.momentum", "The default optimizer here is adamw, without momentum: name sgd or muon."
        )
    return defaults.optimizer


def _given(asked: T | None, otherwise: T) -> T:
    return otherwise if asked is None else asked
