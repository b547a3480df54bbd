"""A classifier's word on whole texts: the mean of its windows' logits, for every text of a split and for attacked copies.

B windows of a batch, T tokens of the longest of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_trainer.core.contracts.detector import Label, Reading, WindowPlan
from model_trainer.core.contracts.training import DeviceName, Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.labelled_windows import Encode, LabelledText, LabelledWindows, write_windows
from model_trainer.engine.data.logits import Logits
from model_trainer.engine.data.permutation import mixed, permuted
from model_trainer.engine.protocols import Device, TextClassifier
from model_trainer.serving.windows import padded

Report = Callable[[float], None]
"""Told which share of the texts is judged; may raise to stop."""
Attack = Callable[[str, int], str]
"""A text and a seed: the attacked copy."""

_BATCH_TOKENS: dict[DeviceName, int] = {"cpu": 1 << 12, "cuda": 1 << 16}
"""Padding counted. Enough to fill the device."""
_TEXTS_AT_ONCE = 2048
"""Whose windows are sorted by length together."""
_SEED_BITS = 2**31
_FP32: dict[str, object] = {"precision": "fp32"}


def judge(
    model: TextClassifier,
    windows: LabelledWindows,
    *,
    device: Device,
    recipe: Recipe,
    report: Report | None = None,
) -> NDArray[np.float64]:
    """One logit a text, in order: the mean over its windows.

    Computed in fp32 on CPU, in the recipe's precision elsewhere; summed in fp64. Raises DIVERGED when a logit is not a
    number.
    """
    sums = np.zeros(len(windows), dtype=np.float64)
    counts = np.zeros(len(windows), dtype=np.float64)
    precision = "fp32" if device.name == "cpu" else recipe.precision
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(windows), _TEXTS_AT_ONCE):
                end = min(start + _TEXTS_AT_ONCE, len(windows))
                for batch in _batches(windows, range(start, end), most_tokens=_BATCH_TOKENS[device.name]):
                    tokens = [one.tokens for one in batch]
                    ids_BT, mask_BT = padded_batch(tokens, windows.plan)
                    with device.autocast(precision):
                        logits_B = model.forward(device.move(ids_BT), device.move(mask_BT))
                    texts = [one.text for one in batch]
                    of = np.array(texts, dtype=np.int64)
                    np.add.at(sums, of, _floats(logits_B))
                    np.add.at(counts, of, 1.0)
                if report is not None:
                    report(end / len(windows))
    finally:
        model.train(was_training)
    logits: NDArray[np.float64] = sums / counts
    if not np.isfinite(logits).all():
        message = "The model's logits are not numbers any more. Lower the learning rate, or clip gradients."
        raise AppError(ErrorCode.DIVERGED, message)
    return logits


def collect_logits(
    model: TextClassifier,
    windows: LabelledWindows,
    *,
    attacked_rows: NDArray[np.int64],
    attacked: Mapping[str, LabelledWindows],
    device: Device,
    recipe: Recipe,
    report: Report | None = None,
) -> Logits:
    """All that calibration and evaluation need to know of a split; computed in fp32 everywhere, as the bundle will.

    Args:
        attacked_rows: which texts have attacked copies, as rows_to_attack() chose them.
        attacked: those copies by attack, as write_attacked() left them.
    """
    parts = [windows, *attacked.values()]
    judged: list[NDArray[np.float64]] = []
    # bf16 keeps two or three digits of a logit: thresholds would be fitted to ties that the exported network has not.
    exactly = recipe.model_copy(update=_FP32)
    for number, part in enumerate(parts):
        told = None if report is None else _share_of(report, number, len(parts))
        judged.append(judge(model, part, device=device, recipe=exactly, report=told))
    return Logits(
        logits=judged[0],
        labels=np.array(windows.labels(), dtype=np.int8),
        groups=np.array(windows.groups(), dtype=np.int64),
        num_words=np.array(windows.num_words(), dtype=np.int32),
        domains=np.array(windows.domains(), dtype=np.str_),
        generators=np.array(windows.generators(), dtype=np.str_),
        text_sha256=windows.header.text_sha256,
        attacked_rows=attacked_rows,
        attacked=dict(zip(attacked, judged[1:], strict=True)),
    )


def rows_to_attack(num_texts: int, *, at_most: int, seed: int) -> NDArray[np.int64]:
    """Which texts are attacked: drawn by `seed`, ascending."""
    key = mixed(seed, num_texts)
    drawn = [permuted(index, size=num_texts, key=key) for index in range(min(at_most, num_texts))]
    drawn.sort()
    return np.array(drawn, dtype=np.int64)


def write_attacked(
    rows: Iterable[LabelledText],
    *,
    chosen: NDArray[np.int64],
    attack: Attack,
    seed: int,
    encode: Encode,
    plan: WindowPlan,
    reading: Reading,
    folder: Path,
) -> LabelledWindows:
    """The attacked copies of the `chosen` among `rows`, tokenised into `folder`. Raises as write_windows() does."""
    numbers: list[int] = chosen.tolist()
    wanted = set(numbers)
    copies = (
        _Attacked.of(row, attack(row.text, mixed(seed, place) % _SEED_BITS))
        for place, row in enumerate(rows)
        if place in wanted
    )
    return write_windows(copies, encode=encode, plan=plan, reading=reading, folder=folder)


def as_text_classifier(model: nn.Module) -> TextClassifier:
    """`model`, known to judge texts; anything else is a programming error."""
    if not isinstance(model, TextClassifier):
        raise TypeError(f"a text classifier is needed, not {type(model).__name__}")
    return model


def padded_batch(windows: Sequence[Sequence[int]], plan: WindowPlan) -> tuple[Tensor, Tensor]:
    """Token ids and mask, int64 [B, T]."""
    ids, mask = padded(windows, plan)
    return torch.tensor(ids, dtype=torch.int64), torch.tensor(mask, dtype=torch.int64)


@dataclass(frozen=True, slots=True)
class _Place:
    text: int
    stretch: range

    def tokens(self) -> int:
        return len(self.stretch)


@dataclass(frozen=True, slots=True)
class _Window:
    text: int
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class _Attacked:
    """A row with another text."""

    text: str
    label: Label
    group: int
    domain: str | None
    generator: str | None
    num_words: int

    @classmethod
    def of(cls, row: LabelledText, text: str) -> "_Attacked":
        return cls(
            text=text,
            label=row.label,
            group=row.group,
            domain=row.domain,
            generator=row.generator,
            num_words=row.num_words,
        )


def _batches(windows: LabelledWindows, texts: range, *, most_tokens: int) -> Iterator[list[_Window]]:
    """Windows of about one length together, so that little is padded; the longest first, so that memory runs out at once."""
    places = [_Place(text, stretch) for text in texts for stretch in windows.stretches(text)]
    places.sort(key=_Place.tokens, reverse=True)
    remaining = iter(places)
    around = windows.plan.length - windows.plan.stretch
    while first := next(remaining, None):
        more = max(1, most_tokens // (first.tokens() + around)) - 1
        batch = [first, *islice(remaining, more)]
        yield [_Window(place.text, windows.window(place.text, place.stretch)) for place in batch]


def _floats(values_B: Tensor) -> NDArray[np.float64]:
    values: list[float] = values_B.double().tolist()
    return np.array(values, dtype=np.float64)


def _share_of(report: Report, number: int, of: int) -> Report:
    return lambda share: report((number + share) / of)
