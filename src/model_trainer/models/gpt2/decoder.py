"""GPT-2 that is asked: transformers' GPT2LMHeadModel over our weights, with its KV cache and its generate().

B rows, T time, V vocabulary.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.protocols import Choose, DecoderState, Device

_EMBEDDING = "transformer.wte.weight"
_HEAD = "lm_head.weight"
Pairs = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of each layer."""


class _Layer(Protocol):
    @property
    def keys(self) -> Tensor: ...

    @property
    def values(self) -> Tensor: ...


class _Cache(Protocol):
    @property
    def layers(self) -> Sequence[_Layer]: ...


class _Output(Protocol):
    @property
    def logits(self) -> Tensor: ...

    @property
    def past_key_values(self) -> _Cache: ...


class Network(Protocol):
    """The part of GPT2LMHeadModel that is used here."""

    def eval(self) -> object: ...

    def state_dict(self) -> Mapping[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor], *, assign: bool) -> object: ...

    def forward(self, *, input_ids: Tensor, past_key_values: _Cache | None, use_cache: bool) -> _Output: ...

    def generate(
        self,
        *,
        inputs: Tensor,
        attention_mask: Tensor,
        max_new_tokens: int,
        do_sample: bool,
        pad_token_id: int,
        logits_processor: "list[_Forced]",
        stopping_criteria: "list[_Enough]",
    ) -> Tensor: ...


class _Configs(Protocol):
    def from_dict(self, values: JsonObject) -> object: ...


@runtime_checkable
class Transformers(Protocol):
    """The part of the library that is used here."""

    @property
    def GPT2Config(self) -> _Configs: ...  # noqa: N802 - the library's name

    def GPT2LMHeadModel(self, config: object) -> Network: ...  # noqa: N802 - the library's name

    def DynamicCache(self, pairs: Pairs) -> _Cache: ...  # noqa: N802 - the library's name


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read so far; a cache is made of it anew each time, so that reading on twice gives the same twice."""

    pairs: Pairs


class Gpt2Decoder:
    """A Decoder."""

    def __init__(self, network: Network, *, context: int, device: Device) -> None:
        self._network = network
        self._context = context
        self._device = device

    @property
    def context(self) -> int:
        """Positions that have learned weights."""
        return self._context

    def decode(self, prompts: Sequence[Sequence[int]], choose: Choose) -> None:
        """Continues rows of any lengths side by side, each as it would be alone; see Decoder."""
        rows = [list(prompt) for prompt in prompts]
        forced = _Forced(choose)
        while not forced.enough:
            added = self._until_full(rows, forced)
            rows = [self._newest([*row, *new]) for row, new in zip(rows, added, strict=True)]

    def logits(self, tokens_T: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Logits [T, V] fp32, and keys and values of all that was read; see Decoder."""
        before = _transformers().DynamicCache(state.pairs) if isinstance(state, _Read) else None
        with torch.inference_mode():
            output = self._network.forward(
                input_ids=self._device.move(tokens_T).unsqueeze(0), past_key_values=before, use_cache=True
            )
        pairs = tuple((layer.keys, layer.values) for layer in output.past_key_values.layers)
        return output.logits[0].float(), _Read(pairs)

    def _until_full(self, rows: list[list[int]], forced: "_Forced") -> list[list[int]]:
        """The tokens added to each row until enough was said, or the longest row has filled the context."""
        longest = max(map(len, rows))
        padded = [_repeated(0, longest - len(row)) + row for row in rows]
        mask = [_repeated(0, longest - len(row)) + _repeated(1, len(row)) for row in rows]
        with torch.inference_mode():
            read_BT = self._network.generate(
                inputs=self._device.move(torch.tensor(padded)),
                attention_mask=self._device.move(torch.tensor(mask)),
                # The last one is drawn, not read.
                max_new_tokens=self._context - longest + 1,
                do_sample=False,
                pad_token_id=0,
                logits_processor=[forced],
                stopping_criteria=[_Enough(forced)],
            )
        return [_ints(row_T) for row_T in read_BT[:, longest:].cpu().unbind(0)]

    def _newest(self, row: list[int]) -> list[int]:
        """A row is cut when it is too long itself, not when its neighbour is."""
        return row if len(row) <= self._context else row[-(self._context // 2) :]


def load_decoder(
    config: JsonObject, weights: Path, *, context: int, device: Device, library: str = "transformers"
) -> Gpt2Decoder:
    """The network of `config` (a GPT2Config's fields) with the weights in that file; raises ARTIFACT_CORRUPT.

    Made without memory of its own and given the file's tensors, so that loading costs one reading and nothing is drawn.
    """
    parts = _transformers(library)
    with torch.device("meta"):
        network = parts.GPT2LMHeadModel(parts.GPT2Config.from_dict(config))
    try:
        saved = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise _corrupt(f"{weights.name} cannot be read: {error}") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if name != _HEAD}
    if wanted != {name: tuple(tensor.shape) for name, tensor in saved.items()}:
        raise _corrupt("names or shapes of the weights are not those of this model")
    moved = {name: device.move(tensor.float()) for name, tensor in saved.items()}
    network.load_state_dict({**moved, _HEAD: moved[_EMBEDDING]}, assign=True)
    network.eval()
    return Gpt2Decoder(network, context=context, device=device)


class _Forced:
    """A logits processor that lets `choose` draw: what it chose is the only token that greedy search can take."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self.enough = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` are the logits [B, V] of the next token."""
        tokens_B = self._choose(scores)
        if tokens_B is None:
            self.enough = True
            return scores
        chosen_B1 = tokens_B.to(scores.device).unsqueeze(1)
        return torch.full_like(scores, float("-inf")).scatter(1, chosen_B1, 0.0)


class _Enough:
    """A stopping criterion: for all rows at once."""

    def __init__(self, forced: _Forced) -> None:
        self._forced = forced

    def __call__(self, input_ids: Tensor, scores: object) -> Tensor:
        """Whether each row has ended [B]."""
        return torch.full((len(input_ids),), self._forced.enough, device=input_ids.device)


def _transformers(library: str = "transformers") -> Transformers:
    """The library, imported when it is needed: that takes seconds."""
    module: object = importlib.import_module(library)
    if not isinstance(module, Transformers):
        raise TypeError(f"{library} has no GPT2Config, GPT2LMHeadModel and DynamicCache")
    return module


def _repeated(value: int, times: int) -> list[int]:
    return [value] * times


def _ints(row_T: Tensor) -> list[int]:
    return [int(row_T[place].item()) for place in range(len(row_T))]


def _corrupt(why: str) -> AppError:
    return AppError(
        ErrorCode.ARTIFACT_CORRUPT, f"The saved model cannot be loaded: {why}.", facts={"why": why}
    )
