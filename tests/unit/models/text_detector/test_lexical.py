import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_trainer.core.contracts.detector import WindowPlan
from model_trainer.engine.export.parity import parity
from model_trainer.engine.export.to_onnx import export_onnx
from model_trainer.models.text_detector.lexical import LexicalParts
from model_trainer.models.text_detector.network import TextDetector
from model_trainer.models.text_detector.token_traits import (
    CAPITALISED,
    CHARACTERS,
    LENGTH,
    NUM_FIGURES,
    NUM_TRAITS,
    SENTENCE_ENDS,
    STARTS_WORD,
    UPPER,
    traits_of,
)

BUCKETS = 4096
"""So many that a handful of n-grams do not meet."""
TOKENS = ["", " the", " cat", " Sat", "s", ".", " A", "!?", " 42", "é"]


def part(**asked: object) -> LexicalParts:
    torch.manual_seed(1)
    values = {"vocab_size": len(TOKENS), "buckets": BUCKETS, "window": 64, "dropout": 0.1} | asked
    make: Callable[..., LexicalParts] = LexicalParts
    return make(**values).eval()


def logits(model: LexicalParts, ids: list[int], *, padding: int = 0) -> Tensor:
    ids_1T = torch.tensor([ids + [9] * padding])
    mask_1T = torch.tensor([[1] * len(ids) + [0] * padding])
    with torch.no_grad():
        return model.forward(ids_1T, mask_1T)[:, 0]


def figures(model: LexicalParts, ids: list[int]) -> list[float]:
    """What reaches the hidden layer, nothing cut off: as they are, in a network that was not shown any text."""
    seen: list[Tensor] = []
    original = model.input_dropout.forward

    def listen(input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        seen.append(input)
        return original(input)

    setattr(model.input_dropout, "forward", listen)  # noqa: B010 - the type checker minds an assignment to a method
    model.spread_F.mul_(100)  # where nothing is far from the mean
    logits(model, ids)
    model.spread_F.div_(100)
    return (100 * seen[0][0]).tolist()


def grams(ids: list[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(ids[at : at + size]) for at in range(len(ids) - size + 1)]


def test_the_wide_logit_is_a_dot_product_with_tf_idf() -> None:
    """Against TF-IDF by hand: 1 + log tf, ln((1 + N) / (1 + df)) + 1 for n-grams of two texts or more, length one."""
    texts = [[1, 2, 3, 1], [1, 2, 4], [5, 1], [4, 4, 1, 2]]
    model = part()
    model.prepare(iter(texts), TOKENS)
    weights = {(1,): 0.5, (2,): -1.0, (4,): 2.0, (1, 2): 3.0, (3,): 100.0}
    with torch.no_grad():
        model.ngrams_bias.fill_(0.25)
        for gram, weight in weights.items():
            ids_1T = torch.tensor([gram])
            hashed = ids_1T[:, 0] if len(gram) == 1 else (ids_1T[:, 0] * 1_000_003 + ids_1T[:, 1] * 7919 + 2)
            model.ngrams.weight[model._bucket(hashed % (2**31 - 1), len(gram))] = weight
    text = [1, 2, 1, 1, 2, 3, 4]
    document = [Counter(gram for size in (1, 2) for gram in set(grams(each, size))) for each in texts]
    frequency: Counter[tuple[int, ...]] = sum(document, Counter())
    found = Counter(gram for size in (1, 2) for gram in grams(text, size))
    tf_idf = {
        gram: (1 + math.log(count)) * (math.log(5 / (1 + frequency[gram])) + 1)
        for gram, count in found.items()
        if frequency[gram] >= 2
    }
    length = math.sqrt(sum(value**2 for value in tf_idf.values()))
    expected = 10 * sum(weights.get(gram, 0.0) * value for gram, value in tf_idf.items()) / length + 0.25
    assert logits(model, text)[0].item() == pytest.approx(expected, rel=1e-4)
    assert logits(model, text, padding=5)[0].item() == pytest.approx(expected, rel=1e-4)


def test_a_text_of_unseen_tokens_has_nothing_but_the_bias() -> None:
    model = part()
    model.prepare(iter([[1], [2]]), TOKENS)
    nn.init.ones_(model.ngrams.weight)
    nn.init.constant_(model.ngrams_bias, 0.5)
    assert logits(model, [3, 4])[0].item() == pytest.approx(0.5)


def test_repetition_is_measured_by_size_of_n_gram() -> None:
    model = part()
    ids = [1, 2, 1, 2, 1]
    found = figures(model, ids)
    singles = [3 / 5, (math.log(2) + math.log(2) + math.log(3)) / 5, 3 * 0.5 / 5]
    pairs = [2 / 4, 2 * math.log(2) / 4, 2 * 0.5 / 4]
    triples = [1 / 3, math.log(2) / 3, 0.5 / 3]
    expected = [*singles, *pairs, *triples]
    assert found[:9] == pytest.approx(expected, rel=1e-5)


def test_figures_count_marks_words_and_spelling() -> None:
    model = part()
    with torch.no_grad():
        for place, token in enumerate(TOKENS):
            model.traits_VA[place] = torch.tensor(traits_of(token))
    # " the cats. Sat. the"
    found = figures(model, [1, 2, 4, 5, 3, 5, 1])
    after = 9 + len(CHARACTERS)
    characters, words = 4 + 4 + 1 + 1 + 4 + 1 + 4, 1 + 4
    assert found[9] == pytest.approx(math.log1p(1000 * 2 / characters), rel=1e-5)
    assert not any(found[10:after]), "no other mark"
    shapes = found[after : after + 3]
    assert shapes == pytest.approx([characters / 7, characters / words, 7 / words], rel=1e-5)
    spelt = found[after + 3 : after + 3 + NUM_TRAITS - UPPER]
    upper, capitalised, digits, alphabetic, foreign, capitals, ends = spelt
    assert upper == capitalised == pytest.approx(math.log1p(100 / words), rel=1e-5)
    assert (digits, foreign, capitals) == (0.0, 0.0, 0.0)
    assert alphabetic == pytest.approx(math.log1p(100 * 1 / words), rel=1e-5)
    assert ends == pytest.approx(math.log1p(100 * 2 / words), rel=1e-5)
    rest = found[after + 3 + NUM_TRAITS - UPPER :]
    # whole words: " the" before " cat", and the last " the"; repeated: the second "." and the last " the"
    sentences, repeated_capital, repeated_whole, repeated_pieces, pieces, capital, whole, length = rest
    assert sentences == pytest.approx(words / 3, rel=1e-5)
    assert repeated_capital == 0.0
    assert repeated_whole == pytest.approx(1 / 3, rel=1e-5)
    assert repeated_pieces == pytest.approx(1 / 6, rel=1e-5)
    assert pieces == pytest.approx(5 / 7, rel=1e-5)
    assert capital == pytest.approx(1 / words, rel=1e-5)
    assert whole == pytest.approx(2 / words, rel=1e-5)
    assert length == pytest.approx(math.log(7), rel=1e-5)
    assert len(found) == NUM_FIGURES


def test_figures_are_scaled_by_what_the_training_texts_have() -> None:
    model = part()
    texts = [[1, 2, 1, 4], [1, 2, 3], [4, 4, 4, 4, 4]]
    raw = part()
    with torch.no_grad():
        for place, token in enumerate(TOKENS):
            raw.traits_VA[place] = torch.tensor(traits_of(token))
    model.prepare(iter(texts), TOKENS)
    unscaled = torch.tensor([figures(raw, text) for text in texts])
    assert torch.allclose(model.mean_F[:9], unscaled[:, :9].mean(0), atol=1e-5)
    spread = unscaled[:, :9].std(0, correction=0)
    varies = spread > 1e-3
    assert torch.allclose(model.spread_F[:9][varies], spread[varies], atol=1e-4)
    scaled = figures(model, texts[1])[:9]
    expected = (unscaled[1, :9] - model.mean_F[:9]) / model.spread_F[:9]
    assert scaled == pytest.approx(expected.tolist(), abs=1e-3)


def test_onnx_counts_as_torch_does_where_hashes_are_large_and_near(tmp_path: Path) -> None:
    model = TextDetector(encoder=None, lexical=part(window=16))
    plan = WindowPlan(length=16, stride=14, prefix=(0,), suffix=(0,), pad_id=0)
    export_onnx(model, tmp_path / "model.onnx", windows=plan)
    # Padding has the largest hashes of all, one beside the other: in floats they would be one n-gram, seen many times.
    found = parity(model, tmp_path / "model.onnx", windows=plan, vocab_size=len(TOKENS), threads=1)
    assert found.max_difference < 1e-5


def test_a_figure_that_hardly_varies_is_left_at_its_own_size() -> None:
    model = part()
    model.prepare(iter([[1, 2, 3, 4]] * 5), TOKENS)
    assert torch.equal(model.spread_F, torch.ones(NUM_FIGURES))


def test_only_as_much_of_a_text_is_measured_as_a_window_holds() -> None:
    long, short = part(window=3), part(window=3)
    long.prepare(iter([[1, 2, 3, 4, 4, 4, 4]] * 2), TOKENS)
    short.prepare(iter([[1, 2, 3]] * 2), TOKENS)
    assert torch.equal(long.mean_F, short.mean_F)
    assert not torch.equal(long.rarity_K, short.rarity_K)


def test_figures_of_the_first_few_thousand_texts_are_enough() -> None:
    many, few = part(), part()
    few.prepare(([1] for _ in range(4096)), TOKENS)
    many.prepare(([1] if place < 4096 else [4, 4, 4] for place in range(4100)), TOKENS)
    assert torch.equal(many.mean_F, few.mean_F)
    assert not torch.equal(many.rarity_K, few.rarity_K)


def test_without_texts_nothing_is_scaled() -> None:
    model = part()
    model.prepare(iter([]), TOKENS)
    assert bool(torch.isfinite(logits(model, [1, 2])).all())


@pytest.mark.parametrize(("mean", "cut"), [(0.0, None), (-40.0, 3.0), (40.0, -3.0)])
def test_the_dense_logit_is_the_perceptrons_of_figures_cut_off_far_from_the_mean(
    mean: float, cut: float | None
) -> None:
    model = part()
    seen = torch.tensor(figures(model, [1, 2, 3])) if cut is None else torch.full((NUM_FIGURES,), cut)
    model.mean_F.fill_(mean)
    hidden = nn.functional.gelu(model.hidden.weight @ seen + model.hidden.bias)
    expected = model.out.weight @ hidden + model.out.bias
    assert logits(model, [1, 2, 3])[1].item() == pytest.approx(expected.item(), rel=1e-5)


def test_equal_n_grams_in_any_order_of_tokens_are_told_apart() -> None:
    model = part()
    nn.init.normal_(model.ngrams.weight)
    assert logits(model, [1, 2, 3])[0].item() != pytest.approx(logits(model, [3, 2, 1])[0].item())


@pytest.mark.parametrize(
    ("token", "traits"),
    [
        ("", {}),
        (" Cat", {LENGTH: 4, STARTS_WORD: 1, UPPER: 1, CAPITALISED: 1}),
        ("cat", {LENGTH: 3, LENGTH + 5: 1}),
        (" USA", {LENGTH: 4, STARTS_WORD: 1, UPPER: 3, CAPITALISED: 1, LENGTH + 7: 1}),
        ("A", {LENGTH: 1, UPPER: 1, LENGTH + 5: 1}),
        ("42", {LENGTH: 2, LENGTH + 4: 2, CHARACTERS.index("4"): 1, CHARACTERS.index("2"): 1}),
        ("..", {LENGTH: 2, SENTENCE_ENDS: 1, 0: 2}),
        ("é", {LENGTH: 1, LENGTH + 5: 1, LENGTH + 6: 1}),
        (" ", {LENGTH: 1, STARTS_WORD: 1}),
    ],
)
def test_traits_are_read_from_a_tokens_text(token: str, traits: dict[int, int]) -> None:
    expected = [0.0] * NUM_TRAITS
    for place, value in traits.items():
        expected[place] = float(value)
    assert traits_of(token) == expected
