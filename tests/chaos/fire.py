"""When to kill whom: drawn from a seed, every kind often enough."""

import random
from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.stack import Kind, Stack

WEIGHTS: dict[Kind, float] = {
    "api": 0.17,
    "worker": 0.19,
    "horse": 0.24,
    "maintenance": 0.17,
    "redis": 0.18,
    "worker_and_horse": 0.05,
}
HEAD_START = 2
RARELY = 0.2
"""How much less often a kind is drawn that has had its share: owners cannot be killed at every moment, others can."""
SHORTEST_GAP_SECONDS = 0.25
MEAN_GAP_SECONDS = 0.8
LONGEST_GAP_SECONDS = 3.0
LONGEST_DOWN_SECONDS = 0.4


@dataclass(frozen=True, slots=True)
class Shot:
    """One kill that was drawn."""

    kind: Kind
    pid: int
    down_seconds: float
    """Before it is started again."""


@dataclass(slots=True)
class Fire:
    """Draws kills from a seed. The moments depend on the machine, what is drawn does not."""

    seed: int
    kinds: tuple[Kind, ...] = tuple(WEIGHTS)
    fired: Counter[str] = field(default_factory=Counter)
    source: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.source = random.Random(self.seed)

    def gap_seconds(self) -> float:
        """Until the next kill."""
        drawn = SHORTEST_GAP_SECONDS + self.source.expovariate(1 / MEAN_GAP_SECONDS)
        return min(LONGEST_GAP_SECONDS, drawn)

    def draw(self, stack: Stack) -> Shot | None:
        """The next kill; None when nobody of the kind drawn is there now, so that it has to be drawn again."""
        kind = self.source.choices(self.kinds, [self._weight(kind) for kind in self.kinds])[0]
        targets = stack.targets(kind)
        if not targets:
            return None
        return Shot(
            kind=kind,
            pid=self.source.choice(targets),
            down_seconds=self.source.uniform(0, LONGEST_DOWN_SECONDS),
        )

    def _weight(self, kind: Kind) -> float:
        has_had_its_share = self.fired[kind] > WEIGHTS[kind] * (self.fired.total() + HEAD_START)
        return WEIGHTS[kind] * (RARELY if has_had_its_share else 1.0)
