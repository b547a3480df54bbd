"""What the decoder of every family of language models must keep, found by the registry."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.devices import select_device
from model_trainer.engine.protocols import DecoderState
from model_trainer.models.family import LanguageFamily
from tests.contract.language_families import FAMILIES, VOCAB, continued, recipe_of, saved

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES),
]


def test_a_decoder_gives_the_logits_of_the_trained_network(family: LanguageFamily, tmp_path: Path) -> None:
    recipe = recipe_of(family)
    model = saved(family, recipe, tmp_path)
    decoder = family.backend().decoder(recipe, tmp_path, select_device("cpu"))
    tokens_T = torch.randint(0, VOCAB, (16,))
    with torch.no_grad():
        expected_TV = model.next_token_logits(tokens_T.unsqueeze(0), ())[0][0]
    logits_TV, _ = decoder.logits(tokens_T, None)
    assert logits_TV.dtype == torch.float32
    assert logits_TV.std() > 0.1, "otherwise all networks would agree"
    torch.testing.assert_close(logits_TV, expected_TV, rtol=0, atol=1e-4)
    assert decoder.context in (None, recipe.max_seq_len)


def test_logits_read_in_parts_are_those_read_at_once(family: LanguageFamily, tmp_path: Path) -> None:
    recipe = recipe_of(family)
    saved(family, recipe, tmp_path)
    decoder = family.backend().decoder(recipe, tmp_path, select_device("cpu"))
    tokens_T = torch.randint(0, VOCAB, (16,))
    whole_TV, _ = decoder.logits(tokens_T, None)
    state: DecoderState = None
    for place in range(16):
        before = state
        one_TV, state = decoder.logits(tokens_T[place : place + 1], before)
        torch.testing.assert_close(one_TV, whole_TV[place : place + 1], rtol=0, atol=1e-5)
        rest_TV, _ = decoder.logits(tokens_T[place:], before)
        torch.testing.assert_close(rest_TV, whole_TV[place:], rtol=0, atol=1e-5)


def test_a_continued_row_is_what_reading_it_from_its_beginning_gives(
    family: LanguageFamily, tmp_path: Path
) -> None:
    recipe = recipe_of(family)
    model = saved(family, recipe, tmp_path)
    decoder = family.backend().decoder(recipe, tmp_path, select_device("cpu"))
    prompt = [3, 1, 4, 1, 5]
    [tokens], logits_BTV = continued(decoder, [prompt], num_tokens=12)
    with torch.no_grad():
        whole_BTV, _ = model.next_token_logits(torch.tensor([prompt + tokens[:-1]]), ())
    torch.testing.assert_close(logits_BTV, whole_BTV[:, len(prompt) - 1 :], rtol=0, atol=1e-4)


def test_a_row_gets_beside_others_what_it_gets_alone(family: LanguageFamily, tmp_path: Path) -> None:
    """Rows of different lengths, one as long as a context, and on far beyond one."""
    recipe = recipe_of(family)
    saved(family, recipe, tmp_path)
    decoder = family.backend().decoder(recipe, tmp_path, select_device("cpu"))
    prompts = [[1, 2, 3], [4], [(7 * place) % VOCAB for place in range(16)], [1, 2, 3]]
    tokens, logits_BTV = continued(decoder, prompts, num_tokens=45)
    for row, prompt in enumerate(prompts):
        [alone], alone_BTV = continued(decoder, [prompt], num_tokens=45)
        assert tokens[row] == alone
        torch.testing.assert_close(logits_BTV[row], alone_BTV[0], rtol=0, atol=1e-5)


def test_a_decoder_reads_no_more_once_enough_was_said(family: LanguageFamily, tmp_path: Path) -> None:
    recipe = recipe_of(family)
    saved(family, recipe, tmp_path)
    calls: list[Tensor] = []

    def choose(logits_BV: Tensor) -> None:
        calls.append(logits_BV)

    family.backend().decoder(recipe, tmp_path, select_device("cpu")).decode([[1, 2], [3]], choose)
    assert [tuple(logits_BV.shape) for logits_BV in calls] == [(2, VOCAB)]


@pytest.mark.parametrize("damage", ["missing", "cut", "another shape"])
def test_a_decoder_of_files_that_do_not_fit_is_refused(
    family: LanguageFamily, tmp_path: Path, damage: str
) -> None:
    recipe = recipe_of(family)
    saved(family, recipe, tmp_path)
    weights_file = tmp_path / "model.safetensors"
    match damage:
        case "missing":
            weights_file.unlink()
        case "cut":
            weights_file.write_bytes(weights_file.read_bytes()[:-8])
        case _:
            recipe = recipe.model_copy(update={"vocab_size": VOCAB + 1})
    with pytest.raises(AppError) as caught:
        family.backend().decoder(recipe, tmp_path, select_device("cpu"))
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
