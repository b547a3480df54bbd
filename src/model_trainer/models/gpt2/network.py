"""GPT-2's network: transformers' GPT2LMHeadModel, number for number, without its overhead on small CPU models.

B batch, T time, C width, H heads, D width of a head, V vocabulary. Radford et al. 2019, "Language Models are Unsupervised
Multitask Learners", section 2.3. Queries, keys and values are separate matrices here, so that Muon orthogonalises each for
itself; the forward pass joins them into one product.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_trainer.engine.protocols import Carry, LanguageModel
from model_trainer.models.gpt2.config import Gpt2Shape

_INIT_STD = 0.02
_EPSILON = 1e-5


class SelfAttention(nn.Module):
    """Masked self-attention of all heads."""

    def __init__(self, shape: Gpt2Shape) -> None:
        super().__init__()
        self._num_heads = shape.n_head
        self._dropout = shape.dropout
        self.query = nn.Linear(shape.n_embd, shape.n_embd)
        self.key = nn.Linear(shape.n_embd, shape.n_embd)
        self.value = nn.Linear(shape.n_embd, shape.n_embd)
        self.out = nn.Linear(shape.n_embd, shape.n_embd)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """What each position takes from itself and those before it."""
        B, T, C = x_BTC.shape
        parts = (self.query, self.key, self.value)
        weight = torch.cat([part.weight for part in parts])
        bias = torch.cat([part.bias for part in parts])
        joint = F.linear(x_BTC, weight, bias).view(B, T, 3, self._num_heads, C // self._num_heads)
        q_BHTD, k_BHTD, v_BHTD = joint.permute(2, 0, 3, 1, 4).unbind(0)
        mixed_BHTD = F.scaled_dot_product_attention(
            q_BHTD, k_BHTD, v_BHTD, is_causal=True, dropout_p=self._dropout if self.training else 0.0
        )
        return self.out.forward(mixed_BHTD.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    """Attention, then a two-layer perceptron, each on a normalised copy and added to the residual stream."""

    def __init__(self, shape: Gpt2Shape) -> None:
        super().__init__()
        self._dropout = shape.dropout
        self.norm_1 = nn.LayerNorm(shape.n_embd, eps=_EPSILON)
        self.attention = SelfAttention(shape)
        self.norm_2 = nn.LayerNorm(shape.n_embd, eps=_EPSILON)
        self.expand = nn.Linear(shape.n_embd, 4 * shape.n_embd)
        self.contract = nn.Linear(4 * shape.n_embd, shape.n_embd)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """The residual stream after this block."""
        x_BTC = x_BTC + self._dropped(self.attention.forward(self.norm_1.forward(x_BTC)))
        hidden = F.gelu(self.expand.forward(self.norm_2.forward(x_BTC)), approximate="tanh")
        return x_BTC + self._dropped(self.contract.forward(hidden))

    def _dropped(self, x_BTC: Tensor) -> Tensor:
        return F.dropout(x_BTC, self._dropout, training=self.training) if self._dropout else x_BTC


class Gpt2(LanguageModel):
    """Embeddings, blocks, a last normalisation, and a head that is the token embedding."""

    def __init__(self, shape: Gpt2Shape, *, vocab_size: int, num_positions: int) -> None:
        super().__init__()
        self._dropout = shape.dropout
        self.tokens = nn.Embedding(vocab_size, shape.n_embd)
        self.positions = nn.Embedding(num_positions, shape.n_embd)
        self.blocks = [Block(shape) for _ in range(shape.n_layer)]
        for index, block in enumerate(self.blocks):
            self.add_module(f"block_{index}", block)
        self.norm = nn.LayerNorm(shape.n_embd, eps=_EPSILON)
        self._initialise(shape.n_layer)

    def next_token_logits(self, tokens_BT: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        """Logits [B, T, V]; there is no state to carry. T is at most the number of positions."""
        x_BTC = self.tokens.forward(tokens_BT) + self.positions.weight[: tokens_BT.shape[1]]
        if self._dropout:
            x_BTC = F.dropout(x_BTC, self._dropout, training=self.training)
        for block in self.blocks:
            x_BTC = block.forward(x_BTC)
        return F.linear(self.norm.forward(x_BTC), self.tokens.weight), ()

    def is_matrix_parameter(self, name: str) -> bool:
        """The matrices inside the blocks."""
        return name.startswith("block_") and name.endswith(".weight") and ".norm_" not in name

    def _initialise(self, num_layers: int) -> None:
        """As GPT-2: what writes into the residual stream starts smaller the more blocks there are."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                writes = name.endswith((".out.weight", ".contract.weight"))
                nn.init.normal_(parameter, std=_INIT_STD / (math.sqrt(2 * num_layers) if writes else 1))
            elif name.endswith(".bias"):
                nn.init.zeros_(parameter)
