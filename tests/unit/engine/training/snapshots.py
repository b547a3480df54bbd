"""Small snapshots for tests of checkpoints, and one way to damage a file."""

from pathlib import Path

import torch

from model_trainer.core.contracts.checkpoint import BestState, LossScaleState, TrainingState, WindowState
from model_trainer.engine.training.checkpoint import Snapshot


def snapshot(step: int = 3) -> Snapshot:
    state = TrainingState(
        schema_version=1,
        recipe_sha256="00",
        data_sha256="5a",
        torch_version="2.13.0",
        step=step,
        total_steps=10,
        batch_size=2,
        gradient_accumulation_steps=1,
        window=WindowState(loss_sum=0.1 + 0.2, norm_sum=1 / 3, num_steps=2, num_norms=2),
        best=BestState(step=2, value=0.7, metrics={"loss": 0.7}),
        loss_scale=LossScaleState(),
        metrics={"loss": 1e-300},
    )
    model = {"weight": torch.arange(6.0).reshape(2, 3).t(), "seen": torch.tensor(4)}
    return Snapshot(state=state, model=model, training={"rng/cpu": torch.get_rng_state()})


def flip(path: Path) -> None:
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(data)
