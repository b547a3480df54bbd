"""The char-LSTM that is asked: what it has read is its state, and that is carried. B rows, T time, V vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_trainer.engine.protocols import Carry, Choose, DecoderState, Device, LanguageModel

_WINDOW = 1024
"""Tokens of a prompt read at a time; no result depends on it, longer windows only hold more logits."""


@dataclass(frozen=True, slots=True)
class _Read:
    carry: Carry


class CharLstmDecoder:
    """A Decoder."""

    def __init__(self, network: LanguageModel, *, device: Device) -> None:
        network.eval()
        device.move_module(network)
        self._network = network
        self._device = device

    @property
    def context(self) -> None:
        """None: there is no place where it must stop to read on."""
        return None

    def decode(self, prompts: Sequence[Sequence[int]], choose: Choose) -> None:
        """Reads each different prompt once by itself, then goes on with all rows side by side; see Decoder."""
        with torch.inference_mode():
            read = {prompt: self._read(prompt) for prompt in {tuple(prompt): None for prompt in prompts}}
            rows = [read[tuple(prompt)] for prompt in prompts]
            logits_BV = torch.stack([logits_V for logits_V, _ in rows])
            carry = _side_by_side([carry for _, carry in rows])
            while (tokens_B := choose(logits_BV)) is not None:
                tokens_BT = self._device.move(tokens_B).unsqueeze(1)
                logits_BTV, carry = self._network.next_token_logits(tokens_BT, carry)
                logits_BV = logits_BTV[:, -1].float()

    def logits(self, tokens_T: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Logits [T, V] fp32 and the state after the last token; see Decoder."""
        before = state.carry if isinstance(state, _Read) else ()
        with torch.inference_mode():
            tokens_BT = self._device.move(tokens_T).unsqueeze(0)
            logits_BTV, carry = self._network.next_token_logits(tokens_BT, before)
        return logits_BTV[0].float(), _Read(carry)

    def _read(self, prompt: tuple[int, ...]) -> tuple[Tensor, Carry]:
        """Logits [V] after a whole prompt, and the state then."""
        first, *others = (prompt[start : start + _WINDOW] for start in range(0, len(prompt), _WINDOW))
        logits_BTV, carry = self._network.next_token_logits(self._tokens(first), ())
        for part in others:
            logits_BTV, carry = self._network.next_token_logits(self._tokens(part), carry)
        return logits_BTV[0, -1].float(), carry

    def _tokens(self, ids: Sequence[int]) -> Tensor:
        return self._device.move(torch.tensor(ids)).unsqueeze(0)


def _side_by_side(carries: Sequence[Carry]) -> Carry:
    """States of one row each as one state of all rows."""
    return tuple(torch.cat([carry[part] for carry in carries], dim=1) for part in range(len(carries[0])))
