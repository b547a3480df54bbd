"""What this machine has, and the device a recipe asks for."""

from typing import assert_never

import torch

from model_trainer.core.compute.machine import (
    Machine,
    computes_bf16,
    cpu_flags,
    physical_memory_bytes,
    usable_cpus,
)
from model_trainer.core.contracts.training import DeviceName
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.devices.cpu import CpuDevice
from model_trainer.engine.devices.cuda import CudaDevice, largest_cuda
from model_trainer.engine.protocols import Device


def probe_machine() -> Machine:
    """This machine, as recipes see it."""
    largest = largest_cuda()
    return Machine(
        cpu_count=usable_cpus(),
        memory_bytes=physical_memory_bytes(),
        native_bf16=computes_bf16(cpu_flags()),
        cuda_memory_bytes=0 if largest is None else largest.memory_bytes,
    )


def select_device(name: DeviceName) -> Device:
    """The device called `name`; the CUDA device with the most memory where there are several.

    Raises DEVICE_UNAVAILABLE when there is no CUDA device.
    """
    match name:
        case "cpu":
            return CpuDevice()
        case "cuda":
            largest = largest_cuda()
            if largest is None:
                raise AppError(
                    ErrorCode.DEVICE_UNAVAILABLE,
                    "This worker has no CUDA device. Run the job on one that has, or ask for device cpu.",
                )
            return CudaDevice(largest.index)  # pragma: no cover - needs an accelerator
        case _:
            assert_never(name)


def set_threads(num_threads: int) -> None:
    """How many CPU threads one operation may use; comes before the first computation, whose sums depend on it.

    Asking which devices there are computes nothing and may come earlier.
    """
    torch.set_num_threads(num_threads)


def allow_tf32(allowed: bool) -> None:
    """Whether CUDA may multiply fp32 matrices in TF32; holds for the whole process, and means nothing to a CPU."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
