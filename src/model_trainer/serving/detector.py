"""Texts in, predictions out: a runtime bundle at work. Needs onnxruntime, tokenizers and numpy; no torch."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.artifact_files import ONNX
from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector import DecisionName, Reading, WindowPlan
from model_trainer.core.contracts.prediction import Prediction, WindowScore
from model_trainer.serving.bundle import TOKENIZER, Bundle, is_still, open_bundle
from model_trainer.serving.probabilities import band_of, probabilities, threshold_for
from model_trainer.serving.reading import read_text
from model_trainer.serving.session import MOST_WINDOWS, Network, OnnxNetwork, logits_of
from model_trainer.serving.tokens import TokenizedText, TokenizerFile, Tokens
from model_trainer.serving.windows import stretches, window_of

FEW_WORDS = 60
"""Below, errors are four to five times as frequent (DeBERTa-ConPara's README)."""
SHORT = f"Fewer than {FEW_WORDS} words: too short to be judged well."
NOTHING = "Nothing to read is left of this text: its probability means nothing."

_PORTION = 1_000_000
"""Characters of texts that are in work at a time."""


class TextScorer:
    """Logits of texts and of their windows, before any calibration."""

    def __init__(
        self, network: Network, tokens: Tokens, *, windows: WindowPlan, reading: Reading, batch_windows: int
    ) -> None:
        self._network = network
        self._tokens = tokens
        self._plan = windows
        self._reading = reading
        self._batch_windows = batch_windows

    def score(self, texts: Sequence[str]) -> Iterator["ScoredText"]:
        """Each text with its logits, in order; memory is bounded by a million characters or the longest text."""
        for portion in _portions(texts):
            tokenized = self._tokens.of([read_text(text, self._reading) for text in portion])
            cut = [stretches(len(each.ids), self._plan) for each in tokenized]
            flat = [
                window_of(each.ids[stretch.start : stretch.stop], self._plan)
                for each, own in zip(tokenized, cut, strict=True)
                for stretch in own
            ]
            logits = logits_of(
                self._network, flat, pad_id=self._plan.pad_id, batch_windows=self._batch_windows
            )
            start = 0
            for text, each, own in zip(portion, tokenized, cut, strict=True):
                yield ScoredText(
                    text,
                    each,
                    logits[start : start + len(own)],
                    spans=[_span(each, stretch) for stretch in own],
                )
                start += len(own)


class ScoredText:
    """One text and its logits."""

    def __init__(
        self,
        text: str,
        tokenized: TokenizedText,
        window_logits: NDArray[np.float64],
        *,
        spans: list[tuple[int, int]],
    ) -> None:
        self.num_words = len(text.split())
        self.num_tokens = len(tokenized.ids)
        self.spans = spans
        own: list[float] = window_logits.tolist()
        self.window_logits = own
        self.logit = math.fsum(own) / len(own)


class Detector:
    """A bundle, loaded."""

    def __init__(self, scorer: TextScorer, calibration: Calibration, *, run_id: str) -> None:
        self._scorer = scorer
        self._calibration = calibration
        self.run_id = run_id

    @classmethod
    def load(cls, folder: Path, *, threads: int | None) -> "Detector":
        """The detector of the bundle in `folder`; raises as open_bundle(), OnnxNetwork and TokenizerFile."""
        bundle = open_bundle(folder)
        detector = cls.of(bundle, threads=threads)
        # What was verified may have been replaced before it was loaded.
        return detector if is_still(bundle) else cls.of(open_bundle(folder), threads=threads)

    @classmethod
    def of(cls, bundle: Bundle, *, threads: int | None) -> "Detector":
        """The detector of an opened bundle."""
        scorer = TextScorer(
            OnnxNetwork(bundle.folder / ONNX, threads=threads),
            TokenizerFile(bundle.folder / TOKENIZER),
            windows=bundle.windows,
            reading=bundle.reading,
            batch_windows=windows_in_a_batch(quantized=bundle.manifest.quantized),
        )
        return cls(scorer, bundle.calibration, run_id=bundle.manifest.run_id)

    def judge(self, texts: Sequence[str], *, decision: DecisionName | None = None) -> list[Prediction]:
        """What each text is, by the threshold called `decision` (None: the calibration's).

        Raises CONFIG_INVALID for a threshold that the calibration could not find.
        """
        return [self._prediction(scored, decision) for scored in self._scorer.score(texts)]

    def _prediction(self, scored: ScoredText, decision: DecisionName | None) -> Prediction:
        threshold = threshold_for(self._calibration, decision, scored.num_words)
        logits = [scored.logit, *scored.window_logits]
        values: list[float] = probabilities(np.fromiter(logits, np.float64), self._calibration).tolist()
        probability, *of_windows = values
        return Prediction(
            probability=probability,
            verdict="ai" if probability > threshold.value else "human",
            band=band_of(probability, self._calibration, threshold=threshold.value)
            if scored.num_tokens
            else "uncertain",
            threshold=threshold.value,
            threshold_name=threshold.name,
            length_bucket=threshold.bucket,
            logit=scored.logit,
            num_words=scored.num_words,
            num_tokens=scored.num_tokens,
            windows=tuple(
                WindowScore(start=start, end=end, logit=logit, probability=each)
                for (start, end), logit, each in zip(
                    scored.spans, scored.window_logits, of_windows, strict=True
                )
            ),
            warnings=_warnings(scored),
        )


def windows_in_a_batch(*, quantized: bool) -> int:
    """How many windows may go together. Dynamic int8 takes its scale from the whole batch: there a window's logit would
    depend on its neighbours, and a verdict on the texts that came with it."""
    return 1 if quantized else MOST_WINDOWS


def _portions(texts: Sequence[str]) -> Iterator[list[str]]:
    portion: list[str] = []
    size = 0
    for text in texts:
        if portion and size + len(text) > _PORTION:
            yield portion
            portion, size = [], 0
        portion.append(text)
        size += len(text)
    if portion:
        yield portion


def _span(tokenized: TokenizedText, stretch: range) -> tuple[int, int]:
    """Characters that a stretch of tokens covers."""
    covered = tokenized.spans[stretch.start : stretch.stop]
    return (covered[0][0], covered[-1][1]) if covered else (0, 0)


def _warnings(scored: ScoredText) -> tuple[str, ...]:
    if scored.num_tokens == 0:
        return (NOTHING,)
    return (SHORT,) if scored.num_words < FEW_WORDS else ()
