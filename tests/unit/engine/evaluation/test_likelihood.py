import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.evaluation.likelihood import as_language_model, language_metrics, score
from model_trainer.engine.protocols import LanguageModel
from tests.unit.engine.evaluation.toys import (
    FixedModel,
    MeanModel,
    PlaceModel,
    RecurrentModel,
    ToyDevice,
    toy_recipe,
    toy_split,
)


def test_loss_is_the_cross_entropy_of_known_probabilities(tmp_path: Path) -> None:
    model = FixedModel([0.5, 0.3, 0.2])
    split = toy_split(tmp_path, [0, 0, 1, 2, 2, 0, 1])
    likelihood = score(model, split, recipe=toy_recipe(vocab_size=3), device=ToyDevice())
    # All but the first token: 0 twice, 1 twice, 2 twice.
    assert likelihood.num_scored == 6
    assert likelihood.nats == pytest.approx(-2 * math.log(0.5 * 0.3 * 0.2), abs=1e-6)
    assert likelihood.num_correct == 2
    metrics = language_metrics(likelihood, split.facts)
    assert metrics.loss == pytest.approx(-math.log(0.03) / 3, abs=1e-6)
    assert metrics.perplexity == pytest.approx(0.03 ** (-1 / 3), abs=1e-5)
    assert metrics.accuracy == pytest.approx(1 / 3)


def test_bits_per_byte_and_nats_per_char_are_over_the_text_and_not_over_tokens(tmp_path: Path) -> None:
    split = toy_split(tmp_path, [0, 0, 0, 0, 0], text="é" * 8)
    likelihood = score(FixedModel([0.25, 0.75]), split, recipe=toy_recipe(vocab_size=2), device=ToyDevice())
    metrics = language_metrics(likelihood, split.facts)
    assert metrics.bits_per_byte == pytest.approx(4 * 2 / 16)
    assert metrics.nats_per_char == pytest.approx(4 * math.log(4) / 8)
    assert (metrics.num_tokens, metrics.num_bytes, metrics.num_characters) == (4, 16, 8)


@pytest.mark.parametrize("length", [2, 3, 7, 8, 9, 10, 25, 40, 41])
@pytest.mark.parametrize("lead", [None, 5])
def test_stride_one_equals_a_window_of_its_own_for_every_token(
    tmp_path: Path, length: int, lead: int | None
) -> None:
    torch.manual_seed(0)
    model = MeanModel(6)
    ids = torch.randint(0, 5, (length,)).tolist()
    split = toy_split(tmp_path, ids, end_of_text_id=lead)
    likelihood = score(
        model, split, recipe=toy_recipe(vocab_size=6, max_seq_len=8, eval_stride=1), device=ToyDevice()
    )
    stream = ids if lead is None else [lead, *ids]
    expected = 0.0
    for place in range(1, len(stream)):
        context = torch.tensor([stream[max(0, place - 8) : place]])
        log_probabilities_V = model.next_token_logits(context, ())[0][0, -1].log_softmax(-1)
        expected -= float(log_probabilities_V[stream[place]].item())
    assert likelihood.num_scored == len(stream) - 1
    assert likelihood.nats == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("num_tokens", "visible"), [(5, [1, 2, 3, 4]), (8, [1, 2, 3, 4, 3, 4, 4])])
def test_later_windows_score_only_what_is_new_with_at_least_the_promised_context(
    tmp_path: Path, num_tokens: int, visible: list[int]
) -> None:
    # Windows of 4 moving on by 2: after the first window each token sees 3 or 4 tokens, the last one its fullest.
    by_place = [0.9, 0.7, 0.5, 0.2]
    split = toy_split(tmp_path, [0] * num_tokens)
    recipe = toy_recipe(vocab_size=2, max_seq_len=4, eval_stride=2)
    likelihood = score(PlaceModel(by_place), split, recipe=recipe, device=ToyDevice())
    expected = -sum(math.log(by_place[seen - 1]) for seen in visible)
    assert likelihood.num_scored == len(visible)
    assert likelihood.nats == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("stride", [1, 3, 8, 100])
def test_every_token_is_scored_once_whatever_the_stride(tmp_path: Path, stride: int) -> None:
    split = toy_split(tmp_path, [index % 3 for index in range(101)])
    recipe = toy_recipe(vocab_size=3, max_seq_len=8, eval_stride=stride)
    likelihood = score(FixedModel([0.5, 0.3, 0.2]), split, recipe=recipe, device=ToyDevice())
    assert likelihood.num_scored == 100
    expected = -(33 * math.log(0.5) + 34 * math.log(0.3) + 33 * math.log(0.2))
    assert likelihood.nats == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("lead", [None, 5])
def test_a_recurrent_model_carries_its_state_over_the_whole_text(tmp_path: Path, lead: int | None) -> None:
    torch.manual_seed(0)
    model = RecurrentModel(6)
    ids = torch.randint(0, 5, (2100,)).tolist()
    split = toy_split(tmp_path, ids, end_of_text_id=lead)
    recipe = toy_recipe(vocab_size=6, data_order="parallel_streams")
    likelihood = score(model, split, recipe=recipe, device=ToyDevice())
    stream = torch.tensor([ids if lead is None else [lead, *ids]])
    log_probabilities_TV = model.next_token_logits(stream[:, :-1], ())[0][0].log_softmax(-1)
    expected = -log_probabilities_TV.gather(1, stream[0, 1:, None]).sum()
    assert likelihood.num_scored == stream.shape[1] - 1
    assert likelihood.nats == pytest.approx(float(expected.item()), abs=2e-2)
    assert likelihood.nats / likelihood.num_scored == pytest.approx(
        float(expected.item()) / likelihood.num_scored, abs=1e-5
    )
    assert "state carried" in likelihood.protocol


class SecondOrderSource(LanguageModel):
    """Knows the source: the next symbol's probabilities given the last two."""

    def __init__(self, probabilities_PQV: Tensor) -> None:
        super().__init__()
        self._probabilities_PQV = probabilities_PQV

    def next_token_logits(
        self, tokens_BT: Tensor, carry: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        before_BT = tokens_BT.roll(
            1, dims=1
        )  # the first place of a window sees one symbol only: a wrong guess there
        return self._probabilities_PQV[before_BT, tokens_BT].log(), ()


def test_a_model_that_knows_a_second_order_source_measures_its_entropy_rate(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(4)
    probabilities_PQV = torch.rand(3, 3, 3, generator=generator).double() + 0.05
    probabilities_PQV /= probabilities_PQV.sum(-1, keepdim=True)
    pairs_PQ = torch.full((3, 3), 1 / 9).double()
    for _ in range(500):  # the stationary distribution of pairs, by power iteration
        pairs_PQ = torch.einsum("pq,pqv->qv", pairs_PQ, probabilities_PQV)
    entropy = -(pairs_PQ[..., None] * probabilities_PQV * probabilities_PQV.log()).sum().item()
    rows = probabilities_PQV.tolist()
    ids = [0, 0]
    draws = torch.rand(20_000, generator=generator).tolist()
    for draw in draws:
        first, second, _ = rows[ids[-2]][ids[-1]]
        ids.append(0 if draw < first else 1 if draw < first + second else 2)
    recipe = toy_recipe(vocab_size=3, max_seq_len=16, eval_stride=12)
    likelihood = score(
        SecondOrderSource(probabilities_PQV.float()),
        toy_split(tmp_path, ids),
        recipe=recipe,
        device=ToyDevice(),
    )
    # The deviation of one symbol's surprisal is below 1 nat: five standard errors of 20,000 symbols.
    assert likelihood.nats / likelihood.num_scored == pytest.approx(entropy, abs=5 / math.sqrt(20_000))


def test_a_text_that_begins_with_an_end_of_text_token_has_its_context_already(tmp_path: Path) -> None:
    split = toy_split(tmp_path, [2, 0, 0, 2, 0], end_of_text_id=2)
    likelihood = score(
        FixedModel([0.5, 0.3, 0.2]), split, recipe=toy_recipe(vocab_size=3), device=ToyDevice()
    )
    assert likelihood.num_scored == 4
    assert likelihood.nats == pytest.approx(-math.log(0.5**3 * 0.2), abs=1e-6)
    assert "begins the text is context and not scored" in likelihood.protocol
    assert "end-of-text tokens are scored" in likelihood.protocol


@pytest.mark.parametrize(
    ("end_of_text_id", "words"),
    [(None, "the first token has no context and is not scored"), (2, "scored after an end-of-text token")],
)
def test_the_protocol_says_what_becomes_of_the_first_token(
    tmp_path: Path, end_of_text_id: int | None, words: str
) -> None:
    split = toy_split(tmp_path, [0, 1, 0, 1], end_of_text_id=end_of_text_id)
    likelihood = score(
        FixedModel([0.5, 0.3, 0.2]), split, recipe=toy_recipe(vocab_size=3), device=ToyDevice()
    )
    assert words in likelihood.protocol
    assert "windows of 8 tokens moving on by 4, each token with at least 4" in likelihood.protocol


def test_a_cpu_evaluates_in_fp32_whatever_it_trained_in(tmp_path: Path) -> None:
    device = ToyDevice()
    recipe = toy_recipe(vocab_size=3, precision="bf16")
    likelihood = score(
        FixedModel([0.5, 0.3, 0.2]), toy_split(tmp_path, [0, 1, 2]), recipe=recipe, device=device
    )
    assert set(device.precisions) == {"fp32"}
    assert likelihood.protocol.endswith("computed in fp32")


def test_nothing_to_score_is_refused(tmp_path: Path) -> None:
    for ids in ([], [1]):
        with pytest.raises(AppError) as caught:
            score(
                FixedModel([0.5, 0.5]),
                toy_split(tmp_path, ids),
                recipe=toy_recipe(vocab_size=2),
                device=ToyDevice(),
            )
        assert caught.value.code is ErrorCode.DATA_TOO_SMALL


def test_a_loss_that_is_not_a_number_is_said_and_not_averaged(tmp_path: Path) -> None:
    split = toy_split(tmp_path, [0, 1, 0])
    with pytest.raises(AppError) as caught:
        score(FixedModel([float("nan"), 0.5]), split, recipe=toy_recipe(vocab_size=2), device=ToyDevice())
    assert caught.value.code is ErrorCode.DIVERGED


def test_a_hopeless_model_has_a_finite_perplexity(tmp_path: Path) -> None:
    split = toy_split(tmp_path, [0, 1, 1])
    likelihood = score(FixedModel([1.0, 1e-38]), split, recipe=toy_recipe(vocab_size=2), device=ToyDevice())
    hopeless = language_metrics(likelihood, split.facts)
    assert hopeless.perplexity == pytest.approx(1e38, rel=1e-2)
    worse = type(likelihood)(nats=2000.0, num_scored=2, num_correct=0, protocol="")
    assert math.isfinite(language_metrics(worse, split.facts).perplexity)


def test_scoring_tells_how_far_it_is_and_can_be_stopped(tmp_path: Path) -> None:
    shares: list[float] = []
    split = toy_split(tmp_path, [0] * 30)
    model = FixedModel([0.5, 0.5])
    model.train()
    score(model, split, recipe=toy_recipe(vocab_size=2), device=ToyDevice(), report=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert model.training

    def stop(_share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(model, split, recipe=toy_recipe(vocab_size=2), device=ToyDevice(), report=stop)
    assert model.training, "a stopped evaluation leaves the model as it was"


def test_scoring_switches_dropout_off(tmp_path: Path) -> None:
    class Dropping(FixedModel):
        def next_token_logits(
            self, tokens_BT: Tensor, carry: tuple[Tensor, ...]
        ) -> tuple[Tensor, tuple[Tensor, ...]]:
            assert not self.training
            assert torch.is_inference_mode_enabled()
            return super().next_token_logits(tokens_BT, carry)

    score(
        Dropping([0.5, 0.5]), toy_split(tmp_path, [0, 1]), recipe=toy_recipe(vocab_size=2), device=ToyDevice()
    )


def test_anything_but_a_language_model_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="not Linear"):
        as_language_model(nn.Linear(1, 1))
