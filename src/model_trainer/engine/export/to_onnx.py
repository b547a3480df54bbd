"""A classifier as one .onnx file: any number of windows of any length in, one logit a window out."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from model_trainer.core.contracts.detector import WindowPlan
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import disk_errors
from model_trainer.engine.export.graph import strip
from model_trainer.engine.protocols import TextClassifier
from model_trainer.serving.session import INPUT_NAMES, OUTPUT_NAME

LARGEST = 2 * 1024**3 - 64 * 1024**2
"""Bytes of weights: protobuf ends at 2 GiB, and the graph needs some of it."""


def export_onnx(model: TextClassifier, path: Path, *, windows: WindowPlan, largest: int = LARGEST) -> int:
    """Writes `path` and returns the opset. The same weights give the same bytes; the model is as it was afterwards.

    Raises MODEL_TOO_LARGE for weights that one file cannot hold.
    """
    num_bytes = sum(_bytes_of(tensor) for tensor in (*model.parameters(), *model.buffers()))
    if num_bytes > largest:
        raise AppError(
            ErrorCode.MODEL_TOO_LARGE,
            f"The weights take {num_bytes:,} bytes and an .onnx file holds {largest:,}. The trained model stays in model/; "
            "for a bundle train a smaller encoder.",
            facts={"num_bytes": num_bytes, "largest": largest},
        )
    with at_rest(model), _quiet(), torch.no_grad(), disk_errors(path):
        sizes = {0: Dim("batch"), 1: Dim("sequence", max=windows.length)}
        shapes = dict.fromkeys(INPUT_NAMES, sizes)
        torch.onnx.export(
            model,
            _example(windows),
            path,
            input_names=list(INPUT_NAMES),
            output_names=[OUTPUT_NAME],
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return strip(path)


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Inside, the model is on the CPU and in evaluation (no dropout, no gradient checkpointing); afterwards as it was."""
    was_training = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    model.eval()
    model.to("cpu")
    try:
        yield
    finally:
        model.to(device)
        for module, training in was_training.items():
            module.training = training


def _example(windows: WindowPlan) -> tuple[Tensor, Tensor]:
    """Two windows, one shorter: what the exporter follows through the network. Sizes of 0 and 1 it would take for fixed."""
    length = min(windows.length, 16)
    ids = torch.full((2, length), windows.pad_id)
    mask = torch.ones_like(ids)
    mask[1, length // 2 :] = 0
    return ids, mask


def _bytes_of(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, torch's exporter does not tell what it thinks of its own parts (a deprecated call of its own, axes named
    twice, torchvision that is not there)."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is deprecated", category=FutureWarning)
            warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
