"""GPT-2 asked through transformers: what happens where the context is full, and what else cannot be held for all families."""

import types
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.training import Recipe
from model_trainer.engine.devices import select_device
from model_trainer.engine.protocols import Decoder, LanguageModel
from model_trainer.models.gpt2 import FAMILY
from model_trainer.models.gpt2.backend import BACKEND
from model_trainer.models.gpt2.decoder import load_decoder

CONTEXT = 9
MACHINE = Machine(cpu_count=1, memory_bytes=2**33, native_bf16=False, cuda_memory_bytes=0)


def recipe_of(**asked: object) -> Recipe:
    body: dict[str, object] = {
        "model_family": "gpt2",
        "corpus_path": "text",
        "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB",
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 16,
        "max_seq_len": CONTEXT,
        "device": "cpu",
    }
    return FAMILY.resolve(FAMILY.spec.model_validate(body | asked), MACHINE, vocab_size=20)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[LanguageModel, Decoder]:
    torch.manual_seed(4)
    recipe = recipe_of()
    model = BACKEND.build(recipe).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    BACKEND.save(model, recipe, tmp_path, end_of_text_id=0)
    return model, BACKEND.decoder(recipe, tmp_path, select_device("cpu"))


def greedy(
    decoder: Decoder, prompts: list[list[int]], num_tokens: int
) -> tuple[list[list[int]], list[Tensor]]:
    seen: list[Tensor] = []

    def choose(logits_BV: Tensor) -> Tensor | None:
        seen.append(logits_BV.clone())
        return None if len(seen) == num_tokens else logits_BV.argmax(-1)

    decoder.decode(prompts, choose)
    return torch.stack([each.argmax(-1) for each in seen], 1).tolist(), seen


def test_where_the_context_is_full_the_newest_half_is_read_anew(saved: tuple[LanguageModel, Decoder]) -> None:
    model, decoder = saved
    prompts = [[1, 2, 3, 4, 5], [6], [7, 8, 9, 10]]
    drawn, seen = greedy(decoder, prompts, 30)
    for row, prompt in enumerate(prompts):
        window = list(prompt)
        for step, token in enumerate(drawn[row]):
            if len(window) > CONTEXT:
                window = window[-(CONTEXT // 2) :]
            with torch.no_grad():
                expected_V = model.next_token_logits(torch.tensor([window]), ())[0][0, -1]
            torch.testing.assert_close(seen[step][row], expected_V, rtol=0, atol=1e-4)
            window.append(token)


def test_the_smallest_context_goes_on_from_one_token(tmp_path: Path) -> None:
    recipe = recipe_of(max_seq_len=2)
    model = BACKEND.build(recipe).eval()
    BACKEND.save(model, recipe, tmp_path, end_of_text_id=None)
    drawn, _ = greedy(BACKEND.decoder(recipe, tmp_path, select_device("cpu")), [[1, 2], [3]], 7)
    assert [len(row) for row in drawn] == [7, 7]


def test_the_end_of_text_ends_nothing_by_itself(saved: tuple[LanguageModel, Decoder]) -> None:
    """Whoever asks decides: also for rows that are read on beside one that has ended."""
    _, decoder = saved
    calls = 0

    def choose(logits_BV: Tensor) -> Tensor | None:
        nonlocal calls
        calls += 1
        return None if calls == 6 else torch.tensor([0, 0])

    decoder.decode([[1], [2]], choose)
    assert calls == 6


def test_weights_in_half_precision_are_computed_in_full(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    recipe = recipe_of()
    BACKEND.save(BACKEND.build(recipe), recipe, tmp_path, end_of_text_id=None)
    weights = tmp_path / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights)
    logits_TV, _ = BACKEND.decoder(recipe, tmp_path, select_device("cpu")).logits(torch.tensor([1, 2]), None)
    with torch.no_grad():
        expected_BTV, _ = BACKEND.load(recipe, tmp_path).eval().next_token_logits(torch.tensor([[1, 2]]), ())
    torch.testing.assert_close(logits_TV, expected_BTV[0], rtol=0, atol=1e-6)


def test_the_weights_lie_in_memory_once(saved: tuple[LanguageModel, Decoder]) -> None:
    _, decoder = saved
    network = vars(decoder)["_network"]
    assert isinstance(network, nn.Module)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    head, embedding = parameters["lm_head.weight"], parameters["transformer.wte.weight"]
    assert head.data_ptr() == embedding.data_ptr()
    assert {parameter.device.type for parameter in parameters.values()} == {"cpu"}


def test_a_library_without_the_network_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="has no GPT2Config"):
        load_decoder({}, tmp_path / "w", context=4, device=select_device("cpu"), library=types.__name__)
