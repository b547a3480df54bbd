"""The char-LSTM asked: long prompts in parts, and each different prompt once."""

import torch
from torch import Tensor

from model_trainer.engine.devices import select_device
from model_trainer.engine.protocols import Carry
from model_trainer.models.char_lstm.config import CharLstmShape
from model_trainer.models.char_lstm.decoder import CharLstmDecoder
from model_trainer.models.char_lstm.network import CharLstm

VOCAB = 11


class Watched(CharLstm):
    """Remembers the shapes of what it was handed."""

    def __init__(self) -> None:
        shape = CharLstmShape(num_layers=2, hidden_size=8, embedding_size=4, dropout=0.5)
        super().__init__(shape, vocab_size=VOCAB)
        self.read: list[tuple[int, ...]] = []

    def next_token_logits(self, tokens_BT: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        self.read.append(tuple(tokens_BT.shape))
        return super().next_token_logits(tokens_BT, carry)


def first_logits(decoder: CharLstmDecoder, prompts: list[list[int]]) -> Tensor:
    seen: list[Tensor] = []

    def choose(logits_BV: Tensor) -> None:
        seen.append(logits_BV)

    decoder.decode(prompts, choose)
    return seen[0]


def test_a_long_prompt_is_read_in_parts_and_nothing_is_lost_between_them() -> None:
    network = Watched()
    decoder = CharLstmDecoder(network, device=select_device("cpu"))
    prompt = [(7 * place) % VOCAB for place in range(2500)]
    logits_BV = first_logits(decoder, [prompt])
    assert network.read == [(1, 1024), (1, 1024), (1, 452)]
    whole_TV, _ = decoder.logits(torch.tensor(prompt), None)
    torch.testing.assert_close(logits_BV[0], whole_TV[-1], rtol=0, atol=1e-5)


def test_rows_with_the_same_prompt_share_its_reading() -> None:
    network = Watched()
    decoder = CharLstmDecoder(network, device=select_device("cpu"))
    logits_BV = first_logits(decoder, [[1, 2, 3], [4], [1, 2, 3], [1, 2, 3]])
    assert network.read == [(1, 3), (1, 1)]
    assert torch.equal(logits_BV[0], logits_BV[2])
    assert not torch.equal(logits_BV[0], logits_BV[1])


def test_nothing_is_dropped_when_it_is_asked() -> None:
    network = Watched()
    assert network.training
    CharLstmDecoder(network, device=select_device("cpu"))
    assert not network.training


def test_there_is_no_context_to_fill() -> None:
    decoder = CharLstmDecoder(Watched(), device=select_device("cpu"))
    assert decoder.context is None
