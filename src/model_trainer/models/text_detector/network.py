"""The detector's network: an encoder with the mean of what it says of each token, a lexical part, or both.

B windows of a batch, T tokens of a window, C width, H heads.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from model_trainer.engine.protocols import TextClassifier
from model_trainer.models.text_detector.hub import Encoder
from model_trainer.models.text_detector.lexical import LexicalParts

_INIT_STD = 0.02
_ENCODER, _WIDE, _DENSE = 1.0, 2.0, 1.0
"""What a head's logit counts. The wide one is the most cautious: its logits spread least."""


@runtime_checkable
class _HasPooler(Protocol):
    pooler: nn.Module | None


class EncoderPart(nn.Module):
    """An encoder with one logit on top."""

    encoder: Encoder

    def __init__(self, encoder: Encoder, *, hidden_size: int, dropout: float) -> None:
        """The head is drawn from torch's global generator."""
        super().__init__()
        if isinstance(encoder, _HasPooler):
            encoder.pooler = None  # made for the first token alone; its weights would never move
        self.encoder = encoder  # a module at run time: torch keeps it as one
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, 1)
        nn.init.normal_(self.head.weight, std=_INIT_STD)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [1, B]."""
        output = self.encoder.forward(input_ids=input_ids, attention_mask=attention_mask)
        hidden_BTC = output.last_hidden_state.float()
        mask_BT1 = attention_mask.unsqueeze(-1).to(hidden_BTC.dtype)
        mean_BC = (hidden_BTC * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1.0)
        return self.head.forward(self.dropout.forward(mean_BC)).float().t()


class TextDetector(TextClassifier):
    """One to three logits, each trained to judge by itself; the answer is their weighted mean."""

    def __init__(self, *, encoder: EncoderPart | None, lexical: LexicalParts | None) -> None:
        super().__init__()
        self.encoder_part = encoder
        self.lexical = lexical
        weights = ([] if encoder is None else [_ENCODER]) + ([] if lexical is None else [_WIDE, _DENSE])
        self._shares = [weight / sum(weights) for weight in weights]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One logit a window [B], fp32."""
        heads = self.training_logits(input_ids, attention_mask).unbind(0)
        return torch.stack([share * head for share, head in zip(self._shares, heads, strict=True)]).sum(0)

    def training_logits(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What each head says [H, B]: the encoder's, then the lexical part's two."""
        parts = [part for part in (self.encoder_part, self.lexical) if part is not None]
        return torch.cat([part.forward(input_ids, attention_mask) for part in parts])

    def prepare(self, *, tokens: Sequence[str], documents: Callable[[], Iterator[Sequence[int]]]) -> None:
        """Shows the training texts to the lexical part, if there is one; see LexicalParts."""
        if self.lexical is not None:
            self.lexical.prepare(documents(), tokens)

    def is_matrix_parameter(self, name: str) -> bool:
        """The matrices inside the encoder's layers, and the lexical part's hidden one."""
        if name.startswith("encoder_part.encoder."):
            return "embeddings" not in name and self.get_parameter(name).ndim == 2
        return name == "lexical.hidden.weight"

    def num_embedding_parameters(self) -> int:
        """Words, positions, relative positions, types and n-grams."""
        tables = [
            table
            for name, table in self.named_parameters()
            if table.ndim == 2 and ("embeddings" in name or name == "lexical.ngrams.weight")
        ]
        return sum(table.numel() for table in tables)
