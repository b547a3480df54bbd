"""Who gets which passage: splits that are a function of corpus, plan and seed alone. Torch-free."""

import hashlib
from collections.abc import Sequence
from typing import assert_never

from model_trainer.core.contracts.corpus import CorpusFile, SplitName, SplitPlan
from model_trainer.core.errors import AppError, ErrorCode

_TURN = 1 << 64
_GOLDEN = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: its multiples cover the circle more evenly than any other's."""


def share_of(plan: SplitPlan, split: SplitName) -> float:
    """The share of the corpus that a split is meant to get."""
    match split:
        case "validation":
            return plan.validation_fraction
        case "test":
            return plan.test_fraction
        case "train":
            return 1.0 - plan.validation_fraction - plan.test_fraction
        case _:
            assert_never(split)


def wanted_splits(plan: SplitPlan) -> tuple[SplitName, ...]:
    """The splits that must not stay empty."""
    names: tuple[SplitName, ...] = ("validation", "test", "train")
    return tuple(name for name in names if share_of(plan, name) > 0)


class PassageDealer:
    """Deals passages one by one along a golden-ratio sequence.

    Its discrepancy grows with the logarithm of the number of passages, so shares are met closely even by a few
    dozen of them, which independent random draws do not do.
    """

    def __init__(self, plan: SplitPlan) -> None:
        self._validation = int(plan.validation_fraction * _TURN)
        self._test = self._validation + int(plan.test_fraction * _TURN)
        self._place = _number(f"passages {plan.seed}")

    def deal(self) -> SplitName:
        """The split of the next passage."""
        place = self._place
        self._place = (place + _GOLDEN) % _TURN
        if place < self._validation:
            return "validation"
        return "test" if place < self._test else "train"


def deal_files(files: Sequence[CorpusFile], plan: SplitPlan) -> dict[str, SplitName]:
    """The split of each file: holdouts are filled in a seeded order up to their share of bytes, the rest trains.

    Raises DATA_TOO_SMALL when there are fewer files than splits.
    """
    wanted = wanted_splits(plan)
    if len(files) < len(wanted):
        raise too_small(f"{len(files)} file(s) cannot make {len(wanted)} splits")
    by_place = {_number(f"files {plan.seed} {file.path}"): file for file in files}
    left = [by_place[place] for place in sorted(by_place)]
    total = sum(file.num_bytes for file in files)
    dealt: dict[str, SplitName] = {}
    for still_to_fill, split in zip(range(len(wanted) - 1, 0, -1), wanted, strict=False):
        for file in _fill(left, target=share_of(plan, split) * total, at_most=len(left) - still_to_fill):
            dealt[file.path] = split
            left.remove(file)
    return dealt | {file.path: "train" for file in left}


def too_small(why: str) -> AppError:
    """DATA_TOO_SMALL with the ways out."""
    return AppError(
        ErrorCode.DATA_TOO_SMALL,
        f"The corpus is too small for this split: {why}. Add text, change the fractions, or change split_by.",
    )


def _fill(files: Sequence[CorpusFile], *, target: float, at_most: int) -> list[CorpusFile]:
    """Files whose sizes come to about `target`: each is taken that brings the sum nearer. Never none."""
    taken: list[CorpusFile] = []
    num_bytes = 0
    for file in files:
        if len(taken) < at_most and num_bytes + file.num_bytes / 2 <= target:
            taken.append(file)
            num_bytes += file.num_bytes
    return taken or [min(files, key=_size_of)]


def _size_of(file: CorpusFile) -> int:
    return file.num_bytes


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
