"""Cuts a text's tokens into windows: in training, evaluation and serving by the same rule."""

from collections.abc import Sequence
from itertools import repeat

from model_trainer.core.compute.recipes import refused
from model_trainer.core.contracts.detector import WindowPlan


def plan_windows(
    *, length: int, stride: int | None, prefix: Sequence[int], suffix: Sequence[int], pad_id: int
) -> WindowPlan:
    """The plan; without a `stride` stretches lie side by side. Raises CONFIG_INVALID for windows without room for text,
    and for strides that would leave tokens unread."""
    room = length - len(prefix) - len(suffix)
    if room < 1:
        raise refused(
            "max_seq_len",
            f"max_seq_len must be at least {length - room + 1}: special tokens take {length - room}.",
        )
    if stride is not None and stride > room:
        raise refused(
            "window_stride",
            f"window_stride must be at most {room}, or tokens between windows are never read.",
        )
    return WindowPlan(
        length=length, stride=stride or room, prefix=tuple(prefix), suffix=tuple(suffix), pad_id=pad_id
    )


def stretches(num_tokens: int, plan: WindowPlan) -> list[range]:
    """Which tokens each window holds, in order; a text without tokens has one empty window.

    Windows are `stride` apart, and the last one ends where the text ends: all windows of a long text are full, so that each
    says about as much as the others.
    """
    if num_tokens <= plan.stretch:
        return [range(num_tokens)]
    last = num_tokens - plan.stretch
    starts = list(range(0, last, plan.stride))
    starts.append(last)
    return [range(start, start + plan.stretch) for start in starts]


def window_of(tokens: Sequence[int], plan: WindowPlan) -> list[int]:
    """One stretch of tokens as the model reads it: with prefix and suffix."""
    return [*plan.prefix, *tokens, *plan.suffix]


def padded(windows: Sequence[Sequence[int]], plan: WindowPlan) -> tuple[list[list[int]], list[list[int]]]:
    """Windows of one length, and the mask: 1 where there is text, 0 for padding."""
    longest = max(len(window) for window in windows)
    ids: list[list[int]] = []
    mask: list[list[int]] = []
    for window in windows:
        fill = longest - len(window)
        ids.append([*window, *repeat(plan.pad_id, fill)])
        mask.append([*repeat(1, len(window)), *repeat(0, fill)])
    return ids, mask
