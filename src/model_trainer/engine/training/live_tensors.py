"""Between a model that is being trained and the tensors of a snapshot: copies, names, and whether they fit."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model_trainer.core.contracts.checkpoint import TrainingState
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.training.checkpoint import Snapshot, Tensors
from model_trainer.engine.training.meter import diverged


def tensors_of(model: nn.Module) -> Tensors:
    """Parameters and buffers by name: the very tensors that are trained."""
    tensors: Tensors = dict(model.named_parameters())
    return tensors | dict(model.named_buffers())


def copied(tensors: Mapping[str, Tensor]) -> Tensors:
    """Copies on the CPU, which share no memory with what goes on being trained."""
    return {name: _copy(tensor.detach()) for name, tensor in tensors.items()}


def snapshot_of(
    model: nn.Module,
    state: TrainingState,
    *,
    optimizer: Mapping[str, Tensor],
    task: Mapping[str, Tensor],
    rng: Mapping[str, Tensor],
) -> Snapshot:
    """Copies of everything; raises DIVERGED when a value that was learnt is not finite."""
    learnt = tensors_of(model)
    bad = not_finite(learnt) or not_finite(optimizer)
    if bad is not None:
        raise diverged(f"tensor {bad}", step=state.step)
    training = (
        prefixed("optimizer", copied(optimizer))
        | prefixed("task", copied(task))
        | prefixed("rng", copied(rng))
    )
    return Snapshot(state=state, model=copied(learnt), training=training)


def copy_into(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Sets the model's tensors; raises CHECKPOINT_INVALID when names or shapes are of another model."""
    own = tensors_of(model)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != {name: tensor.shape for name, tensor in own.items()}:
        raise AppError(
            ErrorCode.CHECKPOINT_INVALID,
            "The weights are of another model: use the sizes of the training they come from.",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor that holds an infinite value or none at all; waits for the device once."""
    floats = {
        name: tensor.detach()
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and tensor.numel() > 0
    }
    if not floats:
        return None
    extremes = torch.stack([_extremes(tensor) for tensor in floats.values()]).cpu()
    finite: list[object] = torch.isfinite(extremes).all(dim=1).tolist()
    return next((name for name, good in zip(floats, finite, strict=True) if not good), None)


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Names below `prefix/`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unprefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """What prefixed() gave, picked out again."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _copy(tensor: Tensor) -> Tensor:
    if tensor.device.type == "cpu":
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor.cpu().contiguous()  # pragma: no cover - needs an accelerator


def _extremes(tensor: Tensor) -> Tensor:
    """The smallest and the largest value: both not a number as soon as one value is not. One pass at the speed of the
    memory, where a norm takes thirty times as long."""
    smallest, largest = torch.aminmax(tensor)
    return torch.stack((smallest, largest)).float()
