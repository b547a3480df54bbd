"""Whether a detector got better or worse than another one, by what both say of the same texts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.contracts.detector_evaluation import DetectorComparison
from model_trainer.engine.data.logits import Logits
from model_trainer.engine.evaluation.detector.bootstrap import interval_of
from model_trainer.engine.evaluation.detector.metrics import RankedTexts, numbered


class Contender:
    """Another run's logits, ranked; on the same texts, its resamplings are ours."""

    def __init__(self, run_id: str, theirs: Logits, ours: Logits) -> None:
        self._run_id = run_id
        self._same_data = theirs.text_sha256 == ours.text_sha256
        # Groups are our own on the same texts: their numbers may differ from run to run.
        groups = numbered(ours.groups if self._same_data else theirs.groups)
        self._ranked = RankedTexts(theirs.logits, theirs.labels, groups)
        self._roc_auc = self._ranked.roc_auc(int(np.amax(groups)) + 1)

    def resampled(self, weights_BG: NDArray[np.float64]) -> NDArray[np.float64]:
        """Its ROC-AUC on resamplings of our groups; none on other texts."""
        return self._ranked.figures(weights_BG).roc_auc if self._same_data else np.zeros(0)

    def compared(
        self,
        ours: float,
        *,
        our_rounds: Sequence[NDArray[np.float64]],
        their_rounds: Sequence[NDArray[np.float64]],
    ) -> DetectorComparison:
        """A regression is a loss of which even the luckiest end of the interval is below 0. Without an interval (other
        texts, no resamplings) both figures stand side by side, and nothing is called a regression."""
        interval = None
        if self._same_data:
            interval = interval_of([us - them for us, them in zip(our_rounds, their_rounds, strict=True)])
        return DetectorComparison(
            run_id=self._run_id,
            theirs=self._roc_auc,
            ours=ours,
            difference=ours - self._roc_auc,
            interval=interval,
            regression=interval is not None and interval.high < 0,
            same_data=self._same_data,
        )
