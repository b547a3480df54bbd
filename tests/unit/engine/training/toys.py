"""A task of a few numbers whose every batch is a function of the step, an observer that remembers, and a plain recipe."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from model_trainer.core.contracts.run import Progress
from model_trainer.core.contracts.training import CheckpointSpec, EarlyStoppingSpec, Recipe
from model_trainer.engine.devices.cpu import CpuDevice
from model_trainer.engine.protocols import Device, FitResult, StopReason
from model_trainer.engine.training.checkpoint import CheckpointFolder, Snapshot
from model_trainer.engine.training.saving import Now
from model_trainer.engine.training.trainer import fit

P = ParamSpec("P")
T = TypeVar("T")


class Inline(Executor):
    """Does everything at once, so that every checkpoint that is due is written, however fast the steps are."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


INLINE = Inline()


def toy_recipe(**changes: object) -> Recipe:
    plain: dict[str, object] = {
        "model_family": "toy",
        "shape": {},
        "vocab_size": 2,
        "max_seq_len": 4,
        "data_order": "shuffled_windows",
        "batch_size": 2,
        "gradient_accumulation_steps": 1,
        "optimizer": "adamw",
        "learning_rate": 0.05,
        "matrix_learning_rate": 0.02,
        "weight_decay": 0.1,
        "beta1": 0.9,
        "beta2": 0.95,
        "momentum": 0.95,
        "schedule": "warmup_stable_decay",
        "warmup_steps": 2,
        "decay_fraction": 0.5,
        "final_fraction": 0.0,
        "gradient_clip_norm": 1.0,
        "num_epochs": None,
        "max_steps": 12,
        "log_every_steps": 4,
        "eval_every_steps": 3,
        "checkpoint": CheckpointSpec(every_steps=5),
        "early_stopping": None,
        "eval_stride": 2,
        "device": "cpu",
        "precision": "fp32",
        "cpu_threads": 1,
        "loader_workers": 0,
        "pin_memory": False,
        "seed": 7,
    }
    return Recipe.model_validate(plain | changes)


def patient(patience: int) -> EarlyStoppingSpec:
    return EarlyStoppingSpec(patience=patience)


class ToyModel(nn.Module):
    """A line through points, with a matrix that Muon may move and dropout that draws from the global generator."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.random.manual_seed(3)
            self.hidden = nn.Linear(3, 4)
            self.head = nn.Linear(4, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.dropout(torch.tanh(self.hidden(x)), 0.2, training=self.training)
        if self.training:
            self.get_buffer("seen").add_(1)
        out: Tensor = self.head(hidden)
        return out

    def is_matrix_parameter(self, name: str) -> bool:
        return name == "hidden.weight"


class ToyTask:
    """Sums of three numbers. Carries a number from step to step, as a recurrent model would its state."""

    def __init__(
        self,
        *,
        poisoned_step: int | None = None,
        validation: list[float] | None = None,
        data_sha256: str = "5a",
    ) -> None:
        self._data_sha256 = data_sha256
        self.carried = torch.zeros(())
        self.poisoned_step = poisoned_step
        self.validation = list(validation) if validation is not None else None
        self.modes: list[bool] = []

    @property
    def steps_per_epoch(self) -> float:
        return 8.0

    @property
    def tokens_per_step(self) -> int:
        return 8

    @property
    def samples_per_step(self) -> int:
        return 2

    @property
    def data_sha256(self) -> str:
        return self._data_sha256

    def loss(self, model: nn.Module, *, step: int, micro_step: int) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * step + micro_step)
        x = torch.randn(16, 3, generator=generator)
        predicted: Tensor = model(x)
        self.modes.append(model.training)
        loss = ((predicted.squeeze(-1) - x.sum(-1)) ** 2).mean() + 0.01 * self.carried
        self.carried = (self.carried + loss).detach() / 2
        return loss * float("nan") if step == self.poisoned_step else loss

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        self.modes.append(model.training)
        if self.validation is not None:
            return {"loss": self.validation.pop(0)}
        x = torch.randn(32, 3, generator=torch.Generator().manual_seed(5))
        with torch.inference_mode():
            predicted: Tensor = model(x)
            return {"loss": float(((predicted.squeeze(-1) - x.sum(-1)) ** 2).mean())}

    def state(self) -> dict[str, Tensor]:
        return {"carried": self.carried}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.carried = state["carried"]


class Witness:
    """A TrainingObserver that keeps what it hears, and stops the run before the step it is told to."""

    def __init__(self, *, stop_after: int | None = None, reason: StopReason = StopReason.CANCEL) -> None:
        self.stop_after = stop_after
        self.reason = reason
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.timings: list[dict[str, float]] = []
        self.progress: list[Progress] = []
        self.rows_on_disk = 0
        self.saved: list[int] = []
        self.rejected: list[str] = []
        self.resumed_at: int | None = None
        self.configuration: tuple[int, int, int] | None = None

    def stop_requested(self) -> StopReason | None:
        steps = self.progress[-1].step if self.progress else 0
        return self.reason if self.stop_after is not None and steps >= self.stop_after else None

    def configured(self, *, total_steps: int, num_parameters: int, tokens_per_step: int) -> None:
        self.configuration = (total_steps, num_parameters, tokens_per_step)

    def resumed(self, *, step: int) -> None:
        self.resumed_at = step

    def stepped(self, progress: Progress) -> None:
        self.progress.append(progress)

    def logged(self, *, step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
        self.rows.append((step, dict(metrics)))
        self.timings.append(timings)

    def rows_must_last(self) -> None:
        self.rows_on_disk = len(self.rows)

    def checkpoint_saved(self, *, step: int, path: Path, num_bytes: int, metrics: dict[str, float]) -> None:
        assert path.exists()
        assert num_bytes > 0
        self.saved.append(step)

    def checkpoint_rejected(self, *, path: Path, why: str) -> None:
        self.rejected.append(f"{path.name}: {why}")


def train(
    folder: Path | CheckpointFolder,
    recipe: Recipe,
    *,
    observer: Witness | None = None,
    task: ToyTask | None = None,
    model: nn.Module | None = None,
    device: Device | None = None,
    start: Snapshot | None = None,
    thread: Executor | None = INLINE,
    now: Now = lambda: 0.0,
) -> tuple[FitResult, nn.Module]:
    model = model or ToyModel()
    result = fit(
        model=model,
        task=task or ToyTask(),
        recipe=recipe,
        device=device or CpuDevice(),
        checkpoints=folder if isinstance(folder, CheckpointFolder) else CheckpointFolder(folder),
        observer=observer or Witness(),
        start=start,
        thread=thread,
        now=now,
    )
    return result, model


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = tensors(left), tensors(right)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def keep_all(every: int = 5, *, best: bool = True) -> CheckpointSpec:
    return CheckpointSpec(every_steps=every, keep_last=100, keep_best=best)
