"""Contracts that speak tensors: what a family hands the engine, and what the engine tells its caller.

Shapes: B batch, T time (tokens), V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from model_trainer.core.contracts.detector import DetectorSpec, WindowPlan
from model_trainer.core.contracts.run import Progress
from model_trainer.core.contracts.training import DeviceName, Precision, Recipe

Carry = tuple[Tensor, ...]
"""State that a recurrent model carries from one window to the next, each tensor [layers, B, ...]; empty for a
transformer."""


class LanguageModel(nn.Module):
    """A network that predicts the next token."""

    def __init__(self) -> None:
        super().__init__()

    def next_token_logits(self, tokens_BT: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        """Logits [B, T, V] of the token after each position, and the state to carry on.

        `tokens_BT` is int64. An empty carry means a cold start.
        """
        raise NotImplementedError

    def is_matrix_parameter(self, name: str) -> bool:
        """Whether Muon may move this parameter: a hidden matrix, not an embedding, a head or a bias."""
        raise NotImplementedError


Choose = Callable[[Tensor], Tensor | None]
"""Given fp32 logits [B, V] of the next token of each row, the tokens [B] int64 that come; None: enough, and what it drew in
this very call need not be read."""


class Decoder(Protocol):
    """A trained language model that is asked: reads tokens once and keeps what it made of them (KV cache, hidden state)."""

    @property
    def context(self) -> int | None:
        """Tokens it can see at once; None for a recurrent model."""
        ...

    def decode(self, prompts: Sequence[Sequence[int]], choose: Choose) -> None:
        """Reads the prompts, one row each, none empty and none longer than the context, and asks `choose` for one token a
        row after another until it says enough. Where the context is full, the newest half of it is read anew."""
        ...

    def logits(self, tokens_T: Tensor, state: "DecoderState") -> tuple[Tensor, "DecoderState"]:
        """Logits [T, V] fp32 of the token after each of `tokens_T` (int64), read on from `state`, and the state then. None
        is a cold start; all tokens read since one fit into the context."""
        ...


DecoderState = object
"""What a decoder remembers between two calls of logits(); its own affair. None: nothing yet."""


@runtime_checkable
class LanguageModelBackend(Protocol):
    """A family's network: made, saved, loaded."""

    def build(self, recipe: Recipe) -> LanguageModel:
        """A new network on the CPU, initialised from torch's global generator (seed it first)."""
        ...

    def save(self, model: LanguageModel, recipe: Recipe, folder: Path, *, end_of_text_id: int | None) -> None:
        """Writes config.json and model.safetensors into `folder`; transformers' AutoModel loads them where it knows the
        architecture."""
        ...

    def load(self, recipe: Recipe, folder: Path) -> LanguageModel:
        """The network saved in `folder`; raises ARTIFACT_CORRUPT when names or shapes do not fit."""
        ...

    def decoder(self, recipe: Recipe, folder: Path, device: "Device") -> Decoder:
        """The network saved in `folder`, on `device` and ready to be asked; raises as load()."""
        ...


class TextClassifier(nn.Module):
    """A network that judges windows of tokens; what ONNX exports is its forward()."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One logit a window [B], fp32; positive speaks for class 1.

        `input_ids` [B, T] int64, `attention_mask` [B, T] int64: 1 where there is text, 0 for padding, which must not
        change the logit.
        """
        raise NotImplementedError

    def training_logits(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the loss is of [H, B]: a row for each head that learns to judge by itself; forward() is a mean of them,
        weighted or not."""
        return self.forward(input_ids, attention_mask).unsqueeze(0)

    def prepare(self, *, tokens: Sequence[str], documents: Callable[[], Iterator[Sequence[int]]]) -> None:
        """Takes from the training texts what is not learnt by gradient. Called once, before the first step; what it sets
        are buffers, saved with the weights. A network that needs nothing of the kind does nothing.

        Args:
            tokens: their texts by id; empty for special ones.
            documents: a fresh pass over the token ids of the training texts.
        """

    def is_matrix_parameter(self, name: str) -> bool:
        """Whether Muon may move this parameter: a hidden matrix, not an embedding, a head or a bias."""
        raise NotImplementedError

    def num_embedding_parameters(self) -> int:
        """Of all parameters those that are looked up by token, position or n-gram."""
        raise NotImplementedError


@runtime_checkable
class TextClassifierBackend(Protocol):
    """A family's network: made, saved, loaded; and the encoder of a hub it may begin with."""

    def complete(self, spec: DetectorSpec) -> DetectorSpec:
        """`spec` with the sizes it leaves out as the hub's configuration of `model_name` has them; unchanged where it names
        none. Raises CONFIG_INVALID naming /model_name for what is no encoder, SERVICE_UNAVAILABLE when neither cache nor
        hub has it."""
        ...

    def write_tokenizer(self, spec: DetectorSpec, folder: Path) -> WindowPlan:
        """Writes the hub's tokenizer.json and tokenizer_config.json for `model_name` into `folder`; returns its prefix, suffix
        and padding with the length and stride of `spec` (length 512 where it says nothing). Raises as complete()."""
        ...

    def build(self, recipe: Recipe) -> TextClassifier:
        """A new network on the CPU: the hub's weights below a new head, or all initialised from torch's global generator
        (seed it first)."""
        ...

    def save(self, model: TextClassifier, recipe: Recipe, folder: Path) -> None:
        """Writes config.json and model.safetensors into `folder`."""
        ...

    def load(self, recipe: Recipe, folder: Path) -> TextClassifier:
        """The network saved in `folder`, without a look at any hub; raises ARTIFACT_CORRUPT when names or shapes do not
        fit."""
        ...


class Device(Protocol):
    """Where tensors live and how they are computed."""

    @property
    def name(self) -> DeviceName:
        """cpu or cuda."""
        ...

    def move(self, tensor: Tensor) -> Tensor:
        """`tensor` on this device (asynchronously from page-locked memory)."""
        ...

    def move_module(self, module: nn.Module) -> None:
        """Moves a network here, in place."""
        ...

    def autocast(self, precision: Precision) -> AbstractContextManager[None]:
        """Computes matrix products in `precision` inside the with-block; fp32 changes nothing."""
        ...

    def synchronize(self) -> None:
        """Waits for all queued work, so that a clock read afterwards is honest."""
        ...

    def release(self) -> None:
        """Gives memory back that is held for this process and that nothing in it uses, so that others can have it."""
        ...

    def memory_bytes(self) -> int:
        """Memory in use: the process' resident set on CPU, the allocator's peak on CUDA."""
        ...

    def rng_state(self) -> dict[str, Tensor]:
        """The states of the random generators that training draws from, by name."""
        ...

    def load_rng_state(self, state: dict[str, Tensor]) -> None:
        """Restores what rng_state() gave."""
        ...


class TrainingTask(Protocol):
    """What is learnt: owns data, loss and validation. Everything it does is a function of (seed, step)."""

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in one pass over the training data."""
        ...

    @property
    def tokens_per_step(self) -> int:
        """Tokens (or samples) one optimizer step learns from."""
        ...

    @property
    def samples_per_step(self) -> int:
        """Windows one optimizer step learns from."""
        ...

    @property
    def data_sha256(self) -> str:
        """Of the data learnt from and validated on: a checkpoint made with other data is no start for this run."""
        ...

    def loss(self, model: nn.Module, *, step: int, micro_step: int) -> Tensor:
        """Mean loss of one micro-batch (scalar, with its graph). `step` counts from 0; called in order."""
        ...

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Validation metrics, names as in metrics.jsonl without the `validation_` prefix (loss, perplexity,
        bits_per_byte, accuracy; of a detector loss, accuracy, roc_auc, f1)."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What must be restored besides the step for the next batch to be the same (carried state), independent of the cut
        into micro-batches: another process may cut the same rows differently."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restores what state() gave, here or in a task with another micro-batch and the same rows in a step."""
        ...


class StopReason(StrEnum):
    """Why the engine should stop before its last step."""

    CANCEL = "cancel"
    LEASE_LOST = "lease_lost"
    PAUSE = "pause"
    """Somebody wants the run to stand still."""
    HAND_OVER = "hand_over"
    """This worker must go; another one goes on."""

    @property
    def keeps_work(self) -> bool:
        """Whether a checkpoint is written before the stop, so that no step is lost."""
        return self in (StopReason.PAUSE, StopReason.HAND_OVER)


class TrainingObserver(Protocol):
    """Told what happens, asked whether to go on. Called from the step loop: must not block."""

    def stop_requested(self) -> StopReason | None:
        """Asked at every step boundary and while checkpoints are written or read: each time a sign of life."""
        ...

    def configured(self, *, total_steps: int, num_parameters: int, tokens_per_step: int) -> None:
        """Once, before the first step."""
        ...

    def resumed(self, *, step: int) -> None:
        """Before the first step, when training goes on from a checkpoint: rows after `step` will come again, and the one of
        `step` if its evaluation is still owed, perhaps for a second time."""
        ...

    def stepped(self, progress: Progress) -> None:
        """After every optimizer step; cheap."""
        ...

    def logged(self, *, step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
        """One row: metrics are a function of spec, data and seed; timings are not."""
        ...

    def rows_must_last(self) -> None:
        """Makes the rows told so far survive a power cut. Called before a checkpoint becomes visible, from the thread that
        writes it."""
        ...

    def checkpoint_saved(self, *, step: int, path: Path, num_bytes: int, metrics: dict[str, float]) -> None:
        """A checkpoint is complete on disk; told at the next step boundary."""
        ...

    def checkpoint_rejected(self, *, path: Path, why: str) -> None:
        """A checkpoint did not verify and was passed over."""
        ...


@dataclass(frozen=True, slots=True)
class FitResult:
    """How training ended."""

    steps: int
    total_steps: int
    stopped: StopReason | None
    early_stopped: bool
    best_step: int | None
    best_metrics: dict[str, float]
    last_metrics: dict[str, float]
    tokens_seen: int
    timings_seconds: dict[str, float]
    """train, evaluate, checkpoint."""
