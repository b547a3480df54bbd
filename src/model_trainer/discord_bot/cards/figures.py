"""Numbers as people read them; every number has some text, also one that is not a number."""

import math

from model_trainer.discord_bot.cards.card import NOTHING, SafeText
from model_trainer.discord_bot.cards.safe_text import say

BAR_BLOCKS = 12
_MOST = 10**15
_SHORT = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
_LAST_MOMENT = 253_402_300_799
"""The end of the year 9999, in seconds since 1970: Discord shows no later one."""


def count(number: int) -> SafeText:
    """1,234."""
    if abs(number) >= _MOST:
        return SafeText("a great many")
    return SafeText(f"{number:,}")


def short_count(number: int) -> SafeText:
    """3.4M."""
    if abs(number) >= _MOST:
        return SafeText("a great many")
    for size, letter in _SHORT:
        if abs(number) >= size:
            return SafeText(
                f"{number / size:.3g}{letter}" if number / size < 100 else f"{number // size}{letter}"
            )
    return SafeText(f"{number}")


def measure(number: float) -> SafeText:
    """0.0123, 4.481, 21,500 or 1.2e-07: four figures that say something."""
    if math.isnan(number):
        return SafeText("not a number")
    if math.isinf(number):
        return SafeText("infinite")
    size = abs(number)
    if size >= _MOST or 0 < size < 0.0001:
        return SafeText(f"{number:.2e}")
    if size >= 1000:
        return SafeText(f"{number:,.0f}")
    return SafeText(f"{number:.4f}" if size < 1 else f"{number:.4g}")


def percent(fraction: float) -> SafeText:
    """42 %; 100 % only when all is done."""
    return SafeText(f"{math.floor(_within(fraction) * 100)} %")


def bar(fraction: float) -> SafeText:
    """A bar of BAR_BLOCKS blocks; full only when all is done."""
    full = math.floor(_within(fraction) * BAR_BLOCKS)
    return SafeText("\u2588" * full + "\u2591" * (BAR_BLOCKS - full))


def clock(seconds: float) -> SafeText:
    """1:05 or 2:03:04, or 5 d 2:03:04."""
    if not 0 <= seconds < 1e9:
        return NOTHING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return SafeText(f"{days} d {hours}:{minutes:02}:{rest:02}")
    return SafeText(f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}")


def from_now(at_ms: float) -> SafeText:
    """A moment as Discord shows it to each reader, counted from now: "in 5 minutes", "2 hours ago"."""
    if not 0 < at_ms / 1000 < _LAST_MOMENT:
        return NOTHING
    return SafeText(f"<t:{round(at_ms / 1000)}:R>")


def steps(step: int, total: int) -> SafeText:
    """410 / 1,200, or the steps alone where nobody knows of how many."""
    if total <= 0:
        return count(step)
    return say("{step} of {total}", step=count(step), total=count(total))


def _within(fraction: float) -> float:
    return min(1.0, max(0.0, fraction)) if math.isfinite(fraction) else 0.0
