"""The CPU: bitwise repeatable for the same number of threads."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor, nn

from model_trainer.core.contracts.training import DeviceName, Precision
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.devices.autocast import Autocast

_STATM = Path("/proc/self/statm")


class CpuDevice:
    """A Device: this process' own memory and cores."""

    def __init__(self, statm: Path = _STATM) -> None:
        self._statm = statm

    @property
    def name(self) -> DeviceName:
        """cpu."""
        return "cpu"

    def move(self, tensor: Tensor) -> Tensor:
        """`tensor` itself when it is here already."""
        return tensor.to("cpu")

    def move_module(self, module: nn.Module) -> None:
        """Moves a network here, in place."""
        module.to("cpu")

    def autocast(self, precision: Precision) -> AbstractContextManager[None]:
        """bf16 matrix products over fp32 weights; raises CONFIG_INVALID for fp16, which CPUs only emulate."""
        match precision:
            case "fp32":
                return nullcontext()
            case "bf16":
                return Autocast("cpu", torch.bfloat16)
            case "fp16":
                raise AppError(ErrorCode.CONFIG_INVALID, "fp16 needs CUDA: ask for fp32 or bf16 on the CPU.")
            case _:
                assert_never(precision)

    def synchronize(self) -> None:
        """Nothing is queued on a CPU."""

    def release(self) -> None:
        """The C library does so by itself."""

    def memory_bytes(self) -> int:
        """The process' resident set; 0 where Linux' file is missing."""
        if not self._statm.exists():
            return 0
        # The second number is resident pages.
        return int(self._statm.read_text().split()[1]) * _page_bytes()

    def rng_state(self) -> dict[str, Tensor]:
        """torch's global generator."""
        return {"cpu": torch.get_rng_state()}

    def load_rng_state(self, state: dict[str, Tensor]) -> None:
        """Restores what rng_state() gave."""
        torch.set_rng_state(state["cpu"])


def _page_bytes() -> int:
    import resource  # no such module on Windows, where statm is missing too

    return resource.getpagesize()
