"""A machine with too little memory for the micro-batch trains the same with a smaller one."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import ErrorCode, Reason
from model_trainer.models.recipe_file import read_recipe
from model_trainer.worker.manifests import read_manifest, verify
from tests.integration.workshop import TINY, Workshop

MESSAGE = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."


class Small:
    """Memory for micro-batches of so many windows, from the nth forward pass of training on."""

    def __init__(self, most: int, *, after: int = 0, error: Callable[[], Exception]) -> None:
        self._most = most
        self._after = after
        self._error = error
        self._seen = 0

    def __call__(self, model: nn.Module, tokens_BT: Tensor) -> None:
        self._seen += int(model.training)
        if model.training and self._seen > self._after and tokens_BT.shape[0] > self._most:
            raise self._error()


@dataclass
class Bench:
    """A workshop, and the weights that a training comes to which has asked for the smaller micro-batch itself."""

    workshop: Workshop
    base: JsonObject
    same: dict[str, object]
    small: RunRecord
    weights: str
    """Where a model has them."""


@pytest.fixture(scope="module", params=sorted(TINY))
def bench(request: pytest.FixtureRequest) -> Bench:
    workshop, base = Workshop(), TINY[str(request.param)]
    is_detector = "data_paths" in base
    # Dropout draws per micro-batch, and AdamW makes the last bits of small gradients count: neither is what this is about.
    same: dict[str, object] = {
        "tokenizer_id": workshop.tokenizer().run_id,
        "checkpoint": {"every_steps": 1, "keep_last": 20},
        "dropout": 0.0,
        "optimizer": {"name": "sgd"},
        **({"finish": False} if is_detector else {}),
    }
    small = workshop.train(base, batch_size=2, gradient_accumulation_steps=2, **same)
    weights = "model/model.safetensors" if is_detector else "model.safetensors"
    return Bench(workshop=workshop, base=base, same=same, small=small, weights=weights)


@pytest.mark.parametrize(
    ("after", "error"),
    [(0, lambda: RuntimeError(MESSAGE)), (4, lambda: torch.OutOfMemoryError("CUDA out of memory"))],
    ids=["at once, by the allocator", "later, on CUDA"],
)
def test_a_smaller_micro_batch_comes_to_the_same_weights(
    bench: Bench, after: int, error: Callable[[], Exception]
) -> None:
    workshop = bench.workshop
    run_id = workshop.submit(bench.base, batch_size=4, **bench.same)
    workshop.work("training", before_forward=Small(2, after=after, error=error))
    record = workshop.record(run_id)
    assert record.status is RunStatus.COMPLETED, record.problem
    folder = workshop.folder(record)
    recipe = read_recipe(folder)
    assert (recipe.batch_size, recipe.gradient_accumulation_steps) == (2, 2)
    manifest = read_manifest(folder)
    assert (manifest.resolved["batch_size"], manifest.resolved["gradient_accumulation_steps"]) == (2, 2)
    assert verify(folder) == []
    state = json.loads((folder / "checkpoints" / "step-0000000006" / "state.json").read_text())
    assert (state["batch_size"], state["gradient_accumulation_steps"]) == (2, 2)
    told = [row.event for row in workshop.container.runs.events_after(run_id, after=0, limit=1000)]
    said = [str(event.model_dump().get("message", "")) for event in told]
    assert any("micro-batch 4 -> 2, accumulation 1 -> 2; going on from step" in text for text in said), said
    assert ("trainer.job.resumed.v1" in workshop.event_types(record)) == (after > 0)
    ours = load_file(folder / bench.weights)
    for name, theirs in load_file(workshop.folder(bench.small) / bench.weights).items():
        torch.testing.assert_close(ours[name], theirs, atol=1e-5, rtol=0.0)


def test_too_little_memory_for_one_window_is_the_end_of_the_run() -> None:
    workshop = Workshop()
    run_id = workshop.submit(TINY["gpt2"], tokenizer_id=workshop.tokenizer().run_id, batch_size=2)
    tries = 0
    while not (record := workshop.record(run_id)).status.is_terminal:
        tries += 1
        workshop.work("training", before_forward=Small(0, error=MemoryError))
    assert tries == 1 + workshop.container.settings.rq.retry_max
    assert (record.status, record.reason) == (RunStatus.FAILED, Reason.OUT_OF_MEMORY)
    assert record.problem is not None
    assert record.problem.code is ErrorCode.OUT_OF_MEMORY
    assert read_recipe(workshop.folder(record)).batch_size == 1
