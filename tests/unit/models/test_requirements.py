"""What a machine must have for a training, and what a refusal advises."""

import pytest

from model_trainer.core.compute.machine import Machine
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.models.char_lstm import FAMILY as CHAR_LSTM
from model_trainer.models.gpt2 import FAMILY as GPT2
from model_trainer.models.gpt2.config import Gpt2Spec
from model_trainer.models.requirements import MEMORY_SHARE, check_fits, check_memory

GIB = 1 << 30


def refusal(memory_bytes: int, **asked: object) -> AppError | None:
    machine = Machine(cpu_count=1, memory_bytes=memory_bytes, native_bf16=False, cuda_memory_bytes=0)
    body = {"model_family": "gpt2", "corpus_path": "c", "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"}
    recipe = GPT2.resolve(Gpt2Spec.model_validate(body | asked), machine, vocab_size=300)
    try:
        check_memory(GPT2.estimate(recipe), recipe, machine)
    except AppError as error:
        return error
    return None


def test_a_share_of_the_memory_stays_free() -> None:
    found = refusal(1, model_size="small")
    assert found is not None
    needed = found.facts["needed_bytes"]
    assert isinstance(needed, int)
    assert refusal(int(needed / MEMORY_SHARE) - 1, model_size="small") is not None
    assert refusal(int(needed / MEMORY_SHARE) + 1, model_size="small") is None
    assert refusal(0, model_size="xl") is None, "a machine that cannot tell its memory is believed"


def test_the_advice_is_about_what_takes_the_memory() -> None:
    weights = refusal(GIB, model_size="medium", batch_size=1, max_seq_len=16)
    activations = refusal(GIB, batch_size=4096)
    assert weights is not None
    assert activations is not None
    assert [fault.pointer for fault in weights.faults] == ["", "/batch_size", "/max_seq_len"]
    assert "smaller gpt2 (n_layer, n_head, n_embd)" in weights.faults[0].message
    assert [fault.pointer for fault in activations.faults] == ["/batch_size", "/max_seq_len"]


def test_a_tokenizer_that_does_not_fit_is_told_which_do() -> None:
    check_fits(CHAR_LSTM, "char")
    with pytest.raises(AppError, match="char_lstm takes char") as error:
        check_fits(CHAR_LSTM, "bpe")
    assert error.value.code is ErrorCode.TOKENIZER_MISMATCH
    assert error.value.faults[0].pointer == "/tokenizer_id"
