"""The char-LSTM's network: embedding, LSTM layers, head. B batch, T time, E embedding, H hidden, V vocabulary, L layers.

Hochreiter and Schmidhuber 1997 (the cell); Graves 2013, arXiv 1308.0850 (characters); Zaremba et al. 2014, arXiv 1409.2329
(dropout between layers, never along time).
"""

import math
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from model_trainer.engine.protocols import Carry, LanguageModel
from model_trainer.models.char_lstm.config import CharLstmShape


class Recurrent(Protocol):
    """What is used of nn.LSTM."""

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None, /
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outputs [B, T, H] and the state (hidden, cell) after the last token, each [L, B, H]."""
        ...


class CharLstm(LanguageModel):
    """Predicts the next character from all before it, as far as its state remembers them."""

    def __init__(self, shape: CharLstmShape, *, vocab_size: int) -> None:
        super().__init__()
        self._dropout = shape.dropout
        self.embedding = nn.Embedding(vocab_size, shape.embedding_size)
        layers = nn.LSTM(
            shape.embedding_size,
            shape.hidden_size,
            num_layers=shape.num_layers,
            # torch drops between layers, and warns where there is no between.
            dropout=shape.dropout if shape.num_layers > 1 else 0.0,
            batch_first=True,
        )
        self.lstm: Recurrent = layers
        self.head = nn.Linear(shape.hidden_size, vocab_size)
        self._initialise(layers, shape)

    def next_token_logits(self, tokens_BT: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        """Logits [B, T, V], and hidden and cell state after the last token."""
        x_BTE = self._dropped(self.embedding.forward(tokens_BT))
        state = (carry[0], carry[1]) if carry else None
        y_BTH, carry_on = self.lstm.forward(x_BTE, state)
        return self.head.forward(self._dropped(y_BTH)), carry_on

    def is_matrix_parameter(self, name: str) -> bool:
        """The gates' matrices."""
        return name.startswith("lstm.weight_")

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self._dropout, training=self.training) if self._dropout else x

    def _initialise(self, layers: nn.LSTM, shape: CharLstmShape) -> None:
        """torch's own, but that a cell remembers at first (forget gate's bias 1: Jozefowicz et al. 2015)."""
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(shape.embedding_size))
        for name, parameter in layers.named_parameters():
            if name.startswith("bias_ih"):
                nn.init.zeros_(parameter)
                nn.init.ones_(parameter[shape.hidden_size : 2 * shape.hidden_size].detach())
            elif name.startswith("bias_hh"):
                nn.init.zeros_(parameter)
