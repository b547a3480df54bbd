"""CUDA: picking the largest device is plain logic; what runs on it needs one."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model_trainer.core.contracts.training import DeviceName, Precision
from model_trainer.engine.devices.autocast import Autocast

_AMPERE = (8, 0)


@dataclass(frozen=True, slots=True)
class CudaFacts:
    """One CUDA device as the driver describes it."""

    index: int
    name: str
    memory_bytes: int


def is_cuda_build() -> bool:
    """Whether torch was built for CUDA at all: without that nothing needs to be asked of a driver."""
    return torch.version.cuda is not None


def list_cuda() -> list[CudaFacts]:
    """All CUDA devices; none where torch was built without CUDA or the driver finds no card."""
    return _ask_driver() if torch.cuda.is_available() else []


def largest_cuda(devices: Callable[[], Iterable[CudaFacts]] = list_cuda) -> CudaFacts | None:
    """The device with the most memory, the first of equals; None without one."""
    return max(devices(), key=_size, default=None)


def capability_of_largest() -> tuple[int, int] | None:
    """The generation of the device with the most memory; None without one."""
    largest = largest_cuda()
    return None if largest is None else torch.cuda.get_device_capability(largest.index)


def cuda_has_bf16(capability: Callable[[], tuple[int, int] | None] = capability_of_largest) -> bool:
    """Whether that device computes bf16 itself (NVIDIA's Ampere, and what came later)."""
    return (capability() or (0, 0)) >= _AMPERE


def _size(device: CudaFacts) -> tuple[int, int]:
    return device.memory_bytes, -device.index


class CudaDevice:  # pragma: no cover - needs an accelerator
    """A Device: one CUDA card."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._device = torch.device("cuda", index)
        # Without these, autotuning picks another kernel from one run to the next.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True

    @property
    def name(self) -> DeviceName:
        """cuda."""
        return "cuda"

    def move(self, tensor: Tensor) -> Tensor:
        """`tensor` on the card; does not wait when it comes from page-locked memory."""
        return tensor.to(self._device, non_blocking=True)

    def move_module(self, module: nn.Module) -> None:
        """Moves a network here, in place."""
        module.to(self._device)

    def autocast(self, precision: Precision) -> AbstractContextManager[None]:
        """Matrix products in half precision over fp32 weights."""
        match precision:
            case "fp32":
                return nullcontext()
            case "bf16":
                return Autocast("cuda", torch.bfloat16)
            case "fp16":
                return Autocast("cuda", torch.float16)

    def synchronize(self) -> None:
        """Waits for the card."""
        torch.cuda.synchronize(self._device)

    def release(self) -> None:
        """What torch's allocator keeps for the next tensor, no other process gets."""
        torch.cuda.empty_cache()

    def memory_bytes(self) -> int:
        """The allocator's peak."""
        return torch.cuda.max_memory_allocated(self._device)

    def rng_state(self) -> dict[str, Tensor]:
        """torch's global generators, the CPU's and this card's."""
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state(self._device)}

    def load_rng_state(self, state: dict[str, Tensor]) -> None:
        """Restores what rng_state() gave."""
        torch.set_rng_state(state["cpu"])
        torch.cuda.set_rng_state(state["cuda"], self._device)


def _ask_driver() -> list[CudaFacts]:  # pragma: no cover - needs an accelerator
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [CudaFacts(index, card.name, card.total_memory) for index, card in enumerate(cards)]
