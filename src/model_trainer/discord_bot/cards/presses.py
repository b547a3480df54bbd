"""What buttons say when they are pressed. All of it stands in the text itself, so a button outlives the bot that made it."""

import re
from dataclasses import dataclass
from typing import Literal, assert_never

from model_trainer.core.contracts.ids import is_ulid

Verb = Literal["cancel", "pause", "resume"]
VERBS: tuple[Verb, ...] = ("cancel", "pause", "resume")


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask before something is done with a run."""

    verb: Verb
    run_id: str


@dataclass(frozen=True, slots=True)
class Do:
    """Do it."""

    verb: Verb
    run_id: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class TurnTo:
    """Another page of the list of runs, from 0."""

    page: int


@dataclass(frozen=True, slots=True)
class Look:
    """Look at a run again."""

    run_id: str


Press = Ask | Do | Drop | TurnTo | Look


def written(press: Press) -> str:
    """The press as a button carries it; at most 100 characters."""
    match press:
        case Ask():
            return f"ask:{press.verb}:{press.run_id}"
        case Do():
            return f"do:{press.verb}:{press.run_id}"
        case Drop():
            return "drop"
        case TurnTo():
            return f"runs:{press.page}"
        case Look():
            return f"status:{press.run_id}"
        case _:
            assert_never(press)


def read(text: str) -> Press | None:
    """The press that a button carried; None for one that is none of ours."""
    word, _, rest = text.partition(":")
    verb, _, run_id = rest.partition(":")
    for known in VERBS:
        if verb == known and is_ulid(run_id) and word in ("ask", "do"):
            return Ask(known, run_id) if word == "ask" else Do(known, run_id)
    if word == "runs" and re.fullmatch(r"[0-9]{1,4}", rest):
        return TurnTo(int(rest))
    if word == "status" and is_ulid(rest):
        return Look(rest)
    return Drop() if text == "drop" else None
