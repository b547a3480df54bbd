"""Drawing tokens: held against transformers' own filters, and against exact probabilities by counting."""

import math

import pytest
import torch
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from model_trainer.core.contracts.inference import SamplingSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.inference.sampling import Sampler, generator_of

VOCAB = 40
PLAIN = SamplingSpec(temperature=1.0, top_k=0)


def logits_of(seed: int, rows: int = 1) -> Tensor:
    return 3 * torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed))


def drawn(
    spec: SamplingSpec,
    logits_V: Tensor,
    *,
    count: int,
    prompt: tuple[int, ...] = (),
    end_of_text_id: int | None = None,
) -> Tensor:
    """How often each token was the first one drawn, over so many seeds."""
    sampler = Sampler(
        spec,
        prompts=[prompt] * count,
        seeds=[(seed, 0) for seed in range(count)],
        end_of_text_id=end_of_text_id,
    )
    tokens = sampler.draw(logits_V.expand(count, -1), range(count))
    return torch.bincount(torch.tensor(tokens), minlength=logits_V.shape[-1])


def theirs(spec: SamplingSpec, logits_BV: Tensor, prompt: tuple[int, ...]) -> Tensor:
    """transformers' probabilities [B, V]."""
    ids_BT = torch.LongTensor([prompt] * len(logits_BV))
    scores_BV = logits_BV.clone()
    if spec.repetition_penalty != 1:
        scores_BV = RepetitionPenaltyLogitsProcessor(penalty=spec.repetition_penalty)(ids_BT, scores_BV)
    if spec.temperature != 1:
        scores_BV = TemperatureLogitsWarper(spec.temperature)(ids_BT, scores_BV)
    if spec.top_k:
        scores_BV = TopKLogitsWarper(top_k=spec.top_k)(ids_BT, scores_BV)
    if spec.top_p < 1:
        scores_BV = TopPLogitsWarper(top_p=spec.top_p)(ids_BT, scores_BV)
    if spec.min_p > 0:
        scores_BV = MinPLogitsWarper(min_p=spec.min_p)(ids_BT, scores_BV)
    return scores_BV.softmax(-1)


SPECS = [
    PLAIN,
    PLAIN.model_copy(update={"temperature": 0.5}),
    PLAIN.model_copy(update={"temperature": 2.5}),
    PLAIN.model_copy(update={"top_k": 5}),
    PLAIN.model_copy(update={"top_k": 1_000_000}),
    PLAIN.model_copy(update={"top_p": 0.7}),
    PLAIN.model_copy(update={"top_p": 0.01}),
    PLAIN.model_copy(update={"min_p": 0.1}),
    PLAIN.model_copy(update={"repetition_penalty": 1.8}),
    PLAIN.model_copy(update={"repetition_penalty": 0.5}),
    SamplingSpec(temperature=1.3, top_k=12, top_p=0.9, min_p=0.05, repetition_penalty=1.2),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.model_dump_json(exclude_defaults=True))
def test_tokens_come_as_often_as_the_filters_of_transformers_let_them(spec: SamplingSpec) -> None:
    count = 4000
    for seed in range(2):
        logits_BV = logits_of(seed)
        expected_V = theirs(spec, logits_BV, (3, 7, 7, 11))[0]
        counts_V = drawn(spec, logits_BV[0], count=count, prompt=(3, 7, 7, 11))
        assert bool((counts_V[expected_V == 0] == 0).all()), "what is filtered out never comes"
        # Five standard deviations of a count: over all that is drawn here, one in several thousand runs of a wrong seed.
        tolerance_V = 5 * (count * expected_V * (1 - expected_V)).sqrt() + 1
        assert bool(((counts_V - count * expected_V).abs() <= tolerance_V).all())


def test_a_penalty_grows_with_what_was_drawn_and_not_only_with_the_prompt() -> None:
    spec = SamplingSpec(temperature=0, repetition_penalty=3.0)
    sampler = Sampler(spec, prompts=[[0]], seeds=[(1, 0)], end_of_text_id=None)
    logits_BV = torch.tensor([[9.0, 5.0, 4.0, 1.0]])
    assert [sampler.draw(logits_BV, [0])[0] for _ in range(3)] == [1, 2, 0]
    # 3 5 4 1, then 3 1.7 4 1, then 3 1.7 1.3 1
    assert logits_BV.tolist() == [[9.0, 5.0, 4.0, 1.0]], "the model's own logits are not touched"


def test_a_penalty_makes_unlikely_tokens_less_likely_too() -> None:
    spec = SamplingSpec(temperature=0, repetition_penalty=2.0)
    sampler = Sampler(spec, prompts=[[0]], seeds=[(1, 0)], end_of_text_id=None)
    assert sampler.draw(torch.tensor([[-1.0, -1.5]]), [0]) == [1]


def test_zero_temperature_takes_the_likeliest_whatever_the_seed() -> None:
    logits_BV = logits_of(5)
    counts_V = drawn(SamplingSpec(temperature=0), logits_BV[0], count=50)
    assert int(counts_V[logits_BV[0].argmax()]) == 50


@pytest.mark.parametrize("temperature", [1e-6, 1e-40, 5e-324])
def test_the_smallest_temperatures_take_the_likeliest_too(temperature: float) -> None:
    logits_BV = logits_of(5)
    counts_V = drawn(PLAIN.model_copy(update={"temperature": temperature}), logits_BV[0], count=50)
    assert int(counts_V[logits_BV[0].argmax()]) == 50


def test_equally_likely_tokens_share_at_the_smallest_temperature() -> None:
    spec = PLAIN.model_copy(update={"temperature": 5e-324})
    first, second, third = drawn(spec, torch.tensor([3.0, 3.0, 2.9]), count=200).tolist()
    assert first + second == 200
    assert min(first, second) > 60
    assert third == 0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_end_of_text_is_never_drawn_where_it_is_not_to_stop(temperature: float) -> None:
    logits_V = torch.tensor([10.0, 0.0, 0.0])
    going_on = SamplingSpec(temperature=temperature, stop_on_eos=False)
    assert int(drawn(going_on, logits_V, count=200, end_of_text_id=0)[0]) == 0
    stopping = SamplingSpec(temperature=temperature, stop_on_eos=True)
    assert int(drawn(stopping, logits_V, count=200, end_of_text_id=0)[0]) > 190
    assert int(drawn(going_on, logits_V, count=200, end_of_text_id=None)[0]) > 190


def test_a_row_draws_the_same_beside_others_and_alone() -> None:
    logits_BV = logits_of(1, rows=3)
    seeds = [(7, 0), (7, 1), (8, 0)]
    spec = SamplingSpec(temperature=2.0, top_k=0, repetition_penalty=1.5)
    together = Sampler(spec, prompts=[[1], [2], [3]], seeds=seeds, end_of_text_id=None)
    rows: list[list[int]] = [together.draw(logits_BV, [0, 1, 2]) for _ in range(5)]
    rows += [[-1, *together.draw(logits_BV[1:], [1, 2])] for _ in range(5)]
    for row, seed in enumerate(seeds):
        alone = Sampler(spec, prompts=[[row + 1]], seeds=[seed], end_of_text_id=None)
        told = [tokens[row] for tokens in rows if tokens[row] >= 0]
        assert told == [alone.draw(logits_BV[row : row + 1], [0])[0] for _ in told]


def test_sequences_and_seeds_have_generators_of_their_own() -> None:
    first = [
        torch.rand(1, generator=generator_of(seed, sequence)).item()
        for seed, sequence in [(0, 0), (0, 1), (1, 0), (2**63 - 1, 9), (0, 0)]
    ]
    assert first[0] == first[4]
    assert len(set(first)) == 4


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_numbers_are_refused(broken: float) -> None:
    sampler = Sampler(PLAIN, prompts=[[0]], seeds=[(0, 0)], end_of_text_id=None)
    with pytest.raises(AppError, match="lower learning rate") as caught:
        sampler.draw(torch.tensor([[0.0, broken]]), [0])
    assert caught.value.code is ErrorCode.DIVERGED
