"""The detector's lexical part: which words and pairs of words a text has, and how it repeats, spells and punctuates.

Two logits, both computed from token ids alone, so that one ONNX file holds everything: a wide one, hashed n-grams of tokens
weighted by TF-IDF (Cheng et al. 2016, arXiv 1606.07792; Joulin et al. 2016, arXiv 1607.01759), and a dense one, a small
perceptron over figures of the text. What they need to know of the training texts they are shown before training.

B windows of a batch, T tokens of a window, K buckets of n-grams, F figures, A traits of a token, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_trainer.models.text_detector.token_traits import (
    CAPITALISED,
    CHARACTERS,
    HIDDEN,
    LENGTH,
    LONGEST_GRAM,
    NUM_FIGURES,
    NUM_TRAITS,
    SENTENCE_ENDS,
    STARTS_WORD,
    UPPER,
    traits_of,
)

_WIDE_GRAMS = (1, 2)
_PRIME = 2**31 - 1
_PADDING = 2**31
"""Above every hash: padding sorts behind the text, each place for itself."""
_PLACES = 2**20
"""More than a window has tokens; a hash times this fits 64 bits."""
_WIDE_SCALE = 10.0
_MOST_FIGURED = 4096
"""Texts whose figures are averaged before training: enough for a mean and a spread."""
_INPUT_DROPOUT = 0.1
_LEAST_SPREAD = 1e-3
"""A figure that varies less says nothing; divided by so little, rounding would say something in its place."""
_FARTHEST = 3.0
"""Spreads from the mean at which a figure is cut off."""


class LexicalParts(nn.Module):
    """Two logits of a window from its tokens."""

    def __init__(self, *, vocab_size: int, buckets: int, window: int, dropout: float) -> None:
        super().__init__()
        self._buckets = buckets
        self._window = window
        self.ngrams = nn.Embedding(buckets, 1)
        nn.init.zeros_(self.ngrams.weight)
        self.ngrams_bias = nn.Parameter(torch.zeros(1))
        self.input_dropout = nn.Dropout(_INPUT_DROPOUT)
        self.hidden = nn.Linear(NUM_FIGURES, HIDDEN)
        self.hidden_dropout = nn.Dropout(dropout)
        self.out = nn.Linear(HIDDEN, 1)
        self.rarity_K = _buffer(self, "rarity_K", torch.ones(buckets))
        """Inverse document frequency; 0 for n-grams seen in one text at most."""
        self.traits_VA = _buffer(self, "traits_VA", torch.zeros(vocab_size, NUM_TRAITS))
        self.mean_F = _buffer(self, "mean_F", torch.zeros(NUM_FIGURES))
        self.spread_F = _buffer(self, "spread_F", torch.ones(NUM_FIGURES))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [2, B]: wide, dense."""
        grams = _grams(input_ids, attention_mask)
        wide_B = self._wide(grams)
        figures_BF = self._figures(input_ids, attention_mask, grams)
        scaled_BF = ((figures_BF - self.mean_F) / self.spread_F).clamp(-_FARTHEST, _FARTHEST)
        hidden = F.gelu(self.hidden.forward(self.input_dropout.forward(scaled_BF)))
        dense_B = self.out.forward(self.hidden_dropout.forward(hidden)).squeeze(-1)
        return torch.stack([wide_B, dense_B.float()])

    def prepare(self, texts: Iterable[Sequence[int]], tokens: Sequence[str]) -> None:
        """Counts in how many texts an n-gram stands, and how figures are spread over the first windows of texts.

        Args:
            texts: token ids of each, at least one.
            tokens: the text of each token id; empty for special ones.
        """
        with torch.no_grad():
            for place, token in enumerate(tokens):
                self.traits_VA[place] = torch.tensor(traits_of(token))
            frequencies_K = torch.zeros_like(self.rarity_K)
            sums_F = torch.zeros(NUM_FIGURES, dtype=torch.float64)
            squares_F = torch.zeros_like(sums_F)
            num_texts = 0
            for ids in texts:
                ids_1T = torch.tensor(ids, dtype=torch.int64).unsqueeze(0)
                ones_1T = torch.ones_like(ids_1T)
                hashed = _hashed(ids_1T, ones_1T)
                seen = [
                    self._bucket(hashed[size - 1][0][:, : len(ids) - size + 1], size) for size in _WIDE_GRAMS
                ]
                # Indexed assignment writes each bucket once, however often the text has it.
                places = torch.cat(seen, dim=1).flatten()
                frequencies_K[places] = frequencies_K[places] + 1
                if num_texts < _MOST_FIGURED:
                    start_1T, ones_1T = ids_1T[:, : self._window], ones_1T[:, : self._window]
                    figures_F = self._figures(start_1T, ones_1T, _grams(start_1T, ones_1T))[0].double()
                    sums_F += figures_F
                    squares_F += figures_F**2
                num_texts += 1
            figured = max(1, min(num_texts, _MOST_FIGURED))
            mean_F = sums_F / figured
            self.mean_F.copy_(mean_F)
            spread_F = (squares_F / figured - mean_F**2).clamp(min=0).sqrt()
            self.spread_F.copy_(torch.where(spread_F < _LEAST_SPREAD, 1.0, spread_F))
            idf_K = torch.log((1 + num_texts) / (1 + frequencies_K)) + 1
            self.rarity_K.copy_(torch.where(frequencies_K >= 2, idf_K, 0.0))

    def _bucket(self, hashes_BT: Tensor, size: int) -> Tensor:
        return ((hashes_BT % _PRIME) * 40_503 + size * 1_299_709) % _PRIME % self._buckets

    def _wide(self, grams: "list[_Grams]") -> Tensor:
        """TF-IDF with the logarithm of counts, of length one, times the weights of the n-grams."""
        scores: list[Tensor] = []
        lengths: list[Tensor] = []
        for size in _WIDE_GRAMS:
            gram = grams[size - 1]
            bucket_BT = self._bucket(gram.hashes, size)
            tf_BT = 1 + torch.log(gram.counts)
            rarity_BT = self.rarity_K[bucket_BT]
            each_BT = tf_BT * rarity_BT * gram.valid / gram.counts
            scores.append((self.ngrams.weight[bucket_BT].squeeze(-1) * each_BT).sum(1))
            lengths.append((tf_BT * rarity_BT * each_BT).sum(1))
        length_B = (torch.stack(lengths).sum(0) + 1e-6).sqrt()
        return _WIDE_SCALE * torch.stack(scores).sum(0) / length_B + self.ngrams_bias

    def _figures(self, input_ids: Tensor, attention_mask: Tensor, grams: "list[_Grams]") -> Tensor:
        """[B, F]: repetition by size of n-gram, characters, words, and which kinds of token are repeated."""
        mask_BT = attention_mask.float()
        figures: list[Tensor] = []
        for gram in grams:
            num_B1 = gram.valid.sum(1, keepdim=True).clamp(min=1)
            figures += [_total(part) / num_B1 for part in (gram.repeats, gram.earlier, gram.nearness)]
        repeats_BT = grams[0].at_places(grams[0].repeats)
        traits_BTA = self.traits_VA[input_ids] * mask_BT.unsqueeze(-1)
        sums_BA = traits_BTA.sum(1)
        num_tokens_B1 = _total(mask_BT).clamp(min=1)
        num_characters_B1 = sums_BA[:, LENGTH : LENGTH + 1].clamp(min=1)
        num_words_B1 = sums_BA[:, STARTS_WORD : STARTS_WORD + 1] + 1
        starts_BT = traits_BTA[:, :, STARTS_WORD]
        is_last_BT = 1 - _next(mask_BT)
        whole_BT = starts_BT * torch.maximum(_next(starts_BT), is_last_BT) * mask_BT
        capital_BT = traits_BTA[:, :, CAPITALISED]
        pieces_BT = mask_BT - whole_BT
        figures += [
            torch.log1p(sums_BA[:, : len(CHARACTERS)] / num_characters_B1 * 1000),
            num_characters_B1 / num_tokens_B1,
            num_characters_B1 / num_words_B1,
            num_tokens_B1 / num_words_B1,
            torch.log1p(sums_BA[:, UPPER:] / num_words_B1 * 100),
            num_words_B1 / (1 + sums_BA[:, SENTENCE_ENDS : SENTENCE_ENDS + 1]),
        ]
        kinds = (capital_BT, whole_BT, pieces_BT)
        figures += [_total(kind * repeats_BT) / (_total(kind) + 1) for kind in kinds]
        figures += [
            _total(pieces_BT) / num_tokens_B1,
            _total(capital_BT) / num_words_B1,
            _total(whole_BT) / num_words_B1,
            torch.log(num_tokens_B1),
        ]
        return torch.cat(figures, dim=1)


@dataclass(frozen=True, slots=True)
class _Grams:
    """The n-grams of windows, each tensor [B, T], sorted by hash: equal ones stand together, in the order of the text; padding last."""

    hashes: Tensor
    valid: Tensor
    """1 for an n-gram of the text, 0 for padding."""
    places: Tensor
    """Where in the window it stands."""
    counts: Tensor
    """How often it stands in the window."""
    earlier: Tensor
    """log(1 + how often before)."""
    repeats: Tensor
    """1 where it stood before."""
    nearness: Tensor
    """One over the tokens since then."""

    def at_places(self, values_BT: Tensor) -> Tensor:
        """`values` in the order of the text."""
        return torch.zeros_like(values_BT).scatter(1, self.places, values_BT)


def _grams(input_ids: Tensor, attention_mask: Tensor) -> list[_Grams]:
    """Of 1, 2, and 3 tokens, sorted."""
    places_BT = torch.cumsum(torch.ones_like(input_ids), 1) - 1
    return [
        _sorted(hashes_BT, mask_BT, places_BT) for hashes_BT, mask_BT in _hashed(input_ids, attention_mask)
    ]


def _hashed(input_ids: Tensor, attention_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The n-gram that begins at each place, and whether all of it is text: of 1, 2, and 3 tokens."""
    found = [(input_ids, attention_mask)]
    shifted_BT, shifted_mask_BT = input_ids, attention_mask
    for size in range(2, LONGEST_GRAM + 1):
        shifted_BT, shifted_mask_BT = _next(shifted_BT), _next(shifted_mask_BT)
        hashes_BT, mask_BT = found[-1]
        hashes_BT = (hashes_BT * 1_000_003 + shifted_BT * 7919 + size) % _PRIME
        found.append((hashes_BT, mask_BT * shifted_mask_BT))
    return found


def _sorted(hashes_BT: Tensor, mask_BT: Tensor, places_BT: Tensor) -> _Grams:
    hashes_BT = torch.where(mask_BT > 0, hashes_BT, places_BT + _PADDING)
    places_BT = torch.sort(hashes_BT * _PLACES + places_BT, dim=1).values % _PLACES
    hashes_BT = hashes_BT.gather(
        1, places_BT
    )  # not by division: ONNX would do that in floats, where near hashes are equal
    valid_BT = (hashes_BT < _PADDING).float()
    same_BT = (hashes_BT == F.pad(hashes_BT[:, :-1], (1, 0), value=-1)).to(torch.int64)
    run_BT = torch.cumsum(1 - same_BT, 1) - 1
    sizes_BT = torch.zeros_like(run_BT).scatter_add(1, run_BT, torch.ones_like(run_BT))
    first_BT = (torch.cumsum(sizes_BT, 1) - sizes_BT).gather(1, run_BT)
    order_BT = torch.cumsum(torch.ones_like(run_BT), 1) - 1
    repeats_BT = same_BT.float() * valid_BT
    gaps_BT = (places_BT - F.pad(places_BT[:, :-1], (1, 0))).clamp(min=1)
    return _Grams(
        hashes=hashes_BT,
        valid=valid_BT,
        places=places_BT,
        counts=sizes_BT.gather(1, run_BT).float(),
        earlier=torch.log1p((order_BT - first_BT).float()),
        repeats=repeats_BT,
        nearness=repeats_BT / gaps_BT.float(),
    )


def _next(values_BT: Tensor) -> Tensor:
    """What stands one place on; 0 behind the end."""
    return F.pad(values_BT[:, 1:], (0, 1))


def _total(values_BT: Tensor) -> Tensor:
    return values_BT.sum(1, keepdim=True)


def _buffer(module: nn.Module, name: str, values: Tensor) -> Tensor:
    module.register_buffer(name, values)
    return values
