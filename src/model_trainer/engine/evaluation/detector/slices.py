"""The figures of parts of the texts: domains, generators, lengths; and of texts that were changed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector_evaluation import Robustness, Slice
from model_trainer.engine.data.logits import Logits
from model_trainer.engine.evaluation.detector.metrics import RankedTexts
from model_trainer.engine.evaluation.detector.verdicts import served_verdicts
from model_trainer.serving.probabilities import bucket_name, probabilities

MOST_SLICES = 50
"""Of one column; those with most texts."""


def slices_of(logits: Logits, calibration: Calibration) -> tuple[Slice, ...]:
    """By domain, generator and length, as far as the texts say; verdicts as predictions make them."""
    verdicts = served_verdicts(probabilities(logits.logits, calibration), logits.num_words, calibration)
    parts = (*_domains(logits), *_generators(logits), *_lengths(logits, calibration))
    return tuple(_slice(logits, verdicts, part, calibration=calibration) for part in parts)


def left_out(logits: Logits) -> list[str]:
    """Which columns have more values than there are slices."""
    return [
        f"{column}: only the {MOST_SLICES} of {count} values with most texts have figures of their own."
        for column, count in (
            ("domain", _num_values(logits.domains)),
            ("generator", _num_values(logits.generators)),
        )
        if count > MOST_SLICES
    ]


def robustness_of(logits: Logits, calibration: Calibration) -> tuple[Robustness, ...]:
    """Each attack against the same texts unchanged; verdicts as predictions make them."""
    rows = logits.attacked_rows
    labels, num_words = logits.labels[rows], logits.num_words[rows]
    before = logits.logits[rows]
    unchanged = served_verdicts(probabilities(before, calibration), num_words, calibration)
    area = _roc_auc(before, labels)
    is_ai = labels.astype(np.bool_)
    found: list[Robustness] = []
    for attack, after in sorted(logits.attacked.items()):
        verdicts = served_verdicts(probabilities(after, calibration), num_words, calibration)
        attacked_area = _roc_auc(after, labels)
        if area is not None and attacked_area is not None:
            found.append(
                Robustness(
                    attack=attack,
                    num_texts=len(rows),
                    roc_auc=attacked_area,
                    roc_auc_loss=area - attacked_area,
                    tpr=_share(verdicts[is_ai]),
                    fpr=_share(verdicts[~is_ai]),
                    flips=_share(verdicts ^ unchanged),
                )
            )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows, and what they have in common."""

    column: str
    value: str
    rows: NDArray[np.int64]


def _domains(logits: Logits) -> Iterator[_Part]:
    for value in _most_frequent(logits.domains):
        yield _Part("domain", value, _places(_equal(logits.domains, value)))


def _generators(logits: Logits) -> Iterator[_Part]:
    """Each generator's texts with the human texts of the same sources, since those differ in nothing but their author; with
    all human texts where there are none."""
    is_ai = logits.labels.astype(np.bool_)
    for value in _most_frequent(logits.generators[is_ai]):
        own = is_ai & _equal(logits.generators, value)
        human = ~is_ai & np.isin(logits.groups, logits.groups[own])
        yield _Part("generator", value, _places(own | (human if bool(np.any(human)) else ~is_ai)))


def _lengths(logits: Logits, calibration: Calibration) -> Iterator[_Part]:
    for bucket in calibration.thresholds.length_buckets:
        inside = logits.num_words >= bucket.min_words
        if bucket.max_words is not None:
            inside = inside & (logits.num_words <= bucket.max_words)
        if bool(np.any(inside)):
            yield _Part("length", bucket_name(bucket), _places(inside))


def _slice(logits: Logits, verdicts: NDArray[np.bool_], part: _Part, *, calibration: Calibration) -> Slice:
    rows = part.rows
    labels, called_ai = logits.labels[rows], verdicts[rows]
    is_ai = labels.astype(np.bool_)
    num_ai = int(np.count_nonzero(is_ai))
    num_human = len(rows) - num_ai
    return Slice(
        column=part.column,
        value=part.value,
        num_human=num_human,
        num_ai=num_ai,
        roc_auc=_roc_auc(logits.logits[rows], labels),
        fpr=_share(called_ai[~is_ai]) if num_human else None,
        tpr=_share(called_ai[is_ai]) if num_ai else None,
        accuracy=1 - _share(called_ai ^ is_ai),
        threshold=calibration.thresholds.decision,
    )


def _roc_auc(scores: NDArray[np.float64], labels: NDArray[np.int8]) -> float | None:
    """None where a class is missing."""
    if len(np.unique(labels)) < 2:
        return None
    return RankedTexts(scores, labels, np.zeros(len(labels), dtype=np.int64)).roc_auc(1)


def _most_frequent(values: NDArray[np.str_]) -> list[str]:
    """The most frequent values in alphabetical order; what is unknown is no value."""
    counts = Counter(_known(values))
    most = sorted((-count, name) for name, count in counts.items())
    return sorted(name for _, name in most[:MOST_SLICES])


def _known(values: NDArray[np.str_]) -> list[str]:
    names: list[str] = values.tolist()
    return [name for name in names if name]


def _num_values(values: NDArray[np.str_]) -> int:
    return len(set(_known(values)))


def _equal(values: NDArray[np.str_], value: str) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = values == value
    return equal


def _share(verdicts: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(verdicts)) / len(verdicts)


def _places(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.flatnonzero(inside).astype(np.int64)
