"""Whether an .onnx file says what the network says: the same windows through both."""

import random
from pathlib import Path

import torch
from torch import Tensor

from model_trainer.core.contracts.detector import WindowPlan
from model_trainer.core.contracts.export import Parity
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.export.to_onnx import at_rest
from model_trainer.engine.protocols import TextClassifier
from model_trainer.serving.session import Network, OnnxNetwork, padded
from model_trainer.serving.windows import window_of

TOLERANCE = 1e-4
"""Of a logit: float32 adds in another order in another library, and differs by 1e-7 to 1e-6; a wrong graph by far more."""


def parity(
    model: TextClassifier, path: Path, *, windows: WindowPlan, vocab_size: int, threads: int | None
) -> Parity:
    """How far the two are apart at most; raises EVALUATION_FAILED when that is more than TOLERANCE (or no number)."""
    return compare(
        model, OnnxNetwork(path, threads=threads), batches(windows, vocab_size), pad_id=windows.pad_id
    )


def compare(
    model: TextClassifier, network: Network, several: list[list[list[int]]], *, pad_id: int
) -> Parity:
    """The same for a network and batches of windows."""
    largest = 0.0
    with at_rest(model), torch.no_grad():
        for batch in several:
            ids, mask = padded(batch, pad_id=pad_id)
            theirs = torch.from_numpy(network.run(ids, mask))
            ours: Tensor = model(torch.from_numpy(ids), torch.from_numpy(mask))
            difference = float((theirs - ours).abs().max())
            if not difference <= TOLERANCE:
                raise _unlike(difference, windows=len(batch), tokens=ids.shape[1])
            largest = max(largest, difference)
    return Parity(
        num_windows=sum(len(batch) for batch in several),
        max_difference=largest,
        tolerance=TOLERANCE,
        passed=True,
    )


def batches(windows: WindowPlan, vocab_size: int) -> list[list[list[int]]]:
    """Batches of one window and of several, of one token of text up to full windows, alike and unlike (so padded) in length;
    the tokens are drawn from all there are, always the same."""
    random_ids = random.Random(0)
    full = windows.stretch
    lengths = ([1], [full], [1, full], [full // 2 + 1, full // 3 + 1, full], [min(7, full)] * 4)
    return [
        [window_of(random_ids.choices(range(vocab_size), k=length), windows) for length in together]
        for together in lengths
    ]


def _unlike(difference: float, *, windows: int, tokens: int) -> AppError:
    return AppError(
        ErrorCode.EVALUATION_FAILED,
        f"The exported network is not the trained one: a logit differs by {difference:.3g}, more than {TOLERANCE:g}, on "
        f"{windows} windows of {tokens} tokens. Nothing was exported; the trained model in model/ is as it was.",
        facts={"difference": str(difference), "windows": windows, "tokens": tokens},
    )
