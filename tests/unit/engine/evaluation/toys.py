"""Models whose every probability is known, and the smallest parts around them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from model_trainer.core.contracts.tokenizer import TokenizerInfo
from model_trainer.core.contracts.training import CheckpointSpec, DeviceName, Precision, Recipe
from model_trainer.engine.data.token_splits import SplitWriter, TokenSplit, token_type_for
from model_trainer.engine.protocols import Carry, LanguageModel


class ToyDevice:
    """The CPU, computing in fp32 whatever it is asked for; remembers what that was."""

    def __init__(self) -> None:
        self.precisions: list[Precision] = []

    @property
    def name(self) -> DeviceName:
        return "cpu"

    def move(self, tensor: Tensor) -> Tensor:
        return tensor

    def move_module(self, module: nn.Module) -> None:
        return None

    def autocast(self, precision: Precision) -> AbstractContextManager[None]:
        self.precisions.append(precision)
        return nullcontext()

    def synchronize(self) -> None:
        return None

    def release(self) -> None:
        return None

    def memory_bytes(self) -> int:
        return 0

    def rng_state(self) -> dict[str, Tensor]:
        return {}

    def load_rng_state(self, state: dict[str, Tensor]) -> None:
        return None


class ByteTokenizer:
    """One token a UTF-8 byte; 256 ends a text, if asked for."""

    def __init__(self, *, end_of_text: bool = True, vocab_size: int = 257) -> None:
        self._end_of_text_id = 256 if end_of_text else None
        self._vocab_size = vocab_size
        self.num_batches = 0

    def inspect(self) -> TokenizerInfo:
        return TokenizerInfo(
            method="toy",
            vocab_size=self._vocab_size,
            special_tokens=(),
            end_of_text_id=self._end_of_text_id,
            unknown_id=None,
            normalisation="none",
            lossless=True,
            sha256=f"toy{self._end_of_text_id}{self._vocab_size}",
        )

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        self.num_batches += 1
        return [self.encode(text) for text in texts]

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        owners = [at for at, character in enumerate(text) for _ in character.encode()]
        return self.encode(text), [(at, at + 1) for at in owners]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(each for each in ids if each < 256).decode(errors="replace")


class FixedModel(LanguageModel):
    """The same probabilities at every place."""

    def __init__(self, probabilities: Sequence[float]) -> None:
        super().__init__()
        self.logits_V = nn.Parameter(torch.tensor(probabilities).log())

    def next_token_logits(self, tokens_BT: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        return self.logits_V.expand(*tokens_BT.shape, -1), ()


class PlaceModel(LanguageModel):
    """Token 0 has probability `by_place[i]` after i + 1 visible tokens, whatever they are."""

    def __init__(self, by_place: Sequence[float]) -> None:
        super().__init__()
        zero_T = torch.tensor(by_place)
        self._logits_TV = torch.stack([zero_T, 1 - zero_T], -1).log()

    def next_token_logits(self, tokens_BT: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        length = tokens_BT.shape[1]
        return self._logits_TV[:length].expand(len(tokens_BT), -1, -1), ()


class MeanModel(LanguageModel):
    """Causal and windowed: predicts from the mean of all tokens it sees."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 8)
        self.head = nn.Linear(8, vocab_size)

    def next_token_logits(self, tokens_BT: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        counts_T = torch.arange(1, tokens_BT.shape[1] + 1)
        mean_BTD = self.embedding(tokens_BT).cumsum(1) / counts_T[:, None]
        logits_BTV: Tensor = self.head(mean_BTD)
        return logits_BTV, ()


class RecurrentModel(LanguageModel):
    """A GRU: what it has read stays in its state."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 8)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.head = nn.Linear(8, vocab_size)

    def next_token_logits(self, tokens_BT: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        hidden_BTD, state = self.gru(self.embedding(tokens_BT), carry[0] if carry else None)
        logits_BTV: Tensor = self.head(hidden_BTD)
        return logits_BTV, (state,)


def toy_recipe(
    *,
    vocab_size: int = 257,
    max_seq_len: int = 8,
    eval_stride: int = 4,
    data_order: str = "shuffled_windows",
    batch_size: int = 2,
    gradient_accumulation_steps: int = 1,
    loader_workers: int = 0,
    pin_memory: bool = False,
    precision: str = "fp32",
    seed: int = 1,
) -> Recipe:
    """A recipe whose fields that nobody reads here hold anything valid."""
    return Recipe.model_validate(
        {
            "model_family": "toy",
            "shape": {},
            "vocab_size": vocab_size,
            "max_seq_len": max_seq_len,
            "data_order": data_order,
            "batch_size": batch_size,
            "gradient_accumulation_steps": gradient_accumulation_steps,
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "matrix_learning_rate": 0.1,
            "weight_decay": 0.0,
            "beta1": 0.9,
            "beta2": 0.95,
            "momentum": 0.9,
            "schedule": "constant",
            "warmup_steps": 0,
            "decay_fraction": 0.4,
            "final_fraction": 0.0,
            "gradient_clip_norm": 0.0,
            "num_epochs": None,
            "max_steps": 1,
            "log_every_steps": None,
            "eval_every_steps": None,
            "checkpoint": CheckpointSpec(),
            "early_stopping": None,
            "eval_stride": eval_stride,
            "device": "cpu",
            "precision": precision,
            "cpu_threads": 1,
            "loader_workers": loader_workers,
            "pin_memory": pin_memory,
            "seed": seed,
        }
    )


def toy_split(
    folder: Path, ids: Sequence[int], *, text: str | None = None, end_of_text_id: int | None = None
) -> TokenSplit:
    """A stream of just these tokens, one character each unless `text` says otherwise."""
    path = folder / f"{len(list(folder.iterdir()))}.bin"
    token_type = token_type_for(257)
    with path.open("xb") as file:
        writer = SplitWriter(file, token_type=token_type, end_of_text_id=None)
        if ids:
            writer.add("x" * len(ids) if text is None else text, list(ids), continues=False)
    return TokenSplit(path=path, token_type=token_type, end_of_text_id=end_of_text_id, facts=writer.facts())
