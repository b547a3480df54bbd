"""What the oracle says, and what it measured on the way."""

from dataclasses import asdict, dataclass, field

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be."""

    check: str
    """Which rule, as a name: two_trainers, event_gap, other_weights, ..."""
    run_id: str | None
    detail: str

    def as_json(self) -> dict[str, JsonValue]:
        """For the report."""
        return asdict(self)


@dataclass(slots=True)
class Findings:
    """Everything found in one round."""

    violations: list[Violation] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the kill of a run's owner to its next step, where nothing else was killed meanwhile."""
    disturbed_recoveries: list[float] = field(default_factory=list)
    """The same where something was."""
    steps_lost: list[int] = field(default_factory=list)
    """Steps done before a kill and done again after it; one number for each kill of an owner in training."""
    steps_in_flight: list[int] = field(default_factory=list)
    """Of each of those: the steps taken while the checkpoint that was due was still being written."""

    def add(self, check: str, run_id: str | None, detail: str) -> None:
        """One more violation; the same one is noted once."""
        violation = Violation(check=check, run_id=run_id, detail=detail)
        if violation not in self.violations:
            self.violations.append(violation)

    def checks(self) -> set[str]:
        """The rules that were broken."""
        return {violation.check for violation in self.violations}


def percentile(values: list[float], share: float) -> float | None:
    """The value below which a share of the others lies (nearest rank); None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]
