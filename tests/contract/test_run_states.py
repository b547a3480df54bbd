"""The table of statuses in docs/run-record.md, held against random lives of a run in both stores."""

import functools
import re
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from model_trainer.core.contracts.run import RunStatus
from model_trainer.infra.persistence.redis_client import RedisClient
from tests.contract.run_lives import (
    CANCELLED,
    COMPLETED,
    FAILED,
    LONG,
    MAX_CRASHES,
    MOVES,
    PAUSED,
    QUEUED,
    Move,
    RunStates,
)
from tests.contract.run_stores import StoreUnderTest, memory_store, redis_store

DOC = Path(__file__).parents[2] / "docs" / "run-record.md"


def moves_in_the_docs() -> set[Move]:
    rows = re.findall(
        r"^\| ([a-z, ]+) \| ([a-z, ]+) \|[^|]*\|([^|]*)\|[^|]*\|$", DOC.read_text(), re.MULTILINE
    )
    return {
        (RunStatus(old), RunStatus(new), script)
        for olds, news, scripts in rows
        if olds != "from"
        for old in olds.split(", ")
        for new in news.split(", ")
        for script in re.findall(r"`([a-z_]+)`", scripts)
    }


def test_the_table_in_the_docs_is_the_one_the_runs_are_held_against() -> None:
    assert moves_in_the_docs() == MOVES


def live(store: StoreUnderTest, *, max_examples: int) -> set[Move]:
    """Random lives in one store, and the moves that were seen there."""
    seen: set[Move] = set()

    class StatesInThisStore(RunStates):
        def __init__(self) -> None:
            super().__init__(store, seen)

    run_state_machine_as_test(
        StatesInThisStore,
        settings=settings(
            max_examples=max_examples, stateful_step_count=30, deadline=None, derandomize=True, database=None
        ),
    )
    return seen


def test_a_run_in_memory_moves_as_the_table_says() -> None:
    assert live(memory_store(), max_examples=60) <= MOVES


def test_a_run_in_redis_moves_as_the_table_says(client: RedisClient) -> None:
    assert live(redis_store(client), max_examples=15) <= MOVES


def made(store: StoreUnderTest, *steps: Callable[[RunStates], None]) -> set[Move]:
    """The moves that a run makes on a given way."""
    seen: set[Move] = set()
    states = RunStates(store, seen)
    for step in steps:
        step(states)
        states.the_run_stands_where_the_table_says()
    return seen


def test_each_move_of_the_table_is_made(store: StoreUnderTest) -> None:
    def claim(run: RunStates) -> None:
        run.claim(behind=0, lease_seconds=LONG)

    def finish(status: RunStatus) -> Callable[[RunStates], None]:
        return lambda run: run.finish(choice=-1, status=status)

    def release(status: RunStatus, *, is_retry: bool = False) -> Callable[[RunStates], None]:
        return lambda run: run.release(choice=-1, status=status, delay_seconds=0.0, is_retry=is_retry)

    def lose(run: RunStates) -> None:
        run.reap(lost=0)

    def rebuild_to_pause(run: RunStates) -> None:
        run.lose_the_store_and_rebuild_it(is_to_pause=True)

    cancel, pause, by_hand = RunStates.request_cancel, RunStates.request_pause, RunStates.set_the_flag_by_hand
    resume = functools.partial(RunStates.resume, step=None)
    ways: list[tuple[Callable[[RunStates], None], ...]] = [
        *((claim, finish(status)) for status in (COMPLETED, FAILED, CANCELLED)),
        *((claim, cancel, finish(status)) for status in (COMPLETED, FAILED, CANCELLED)),
        (by_hand, claim),
        (rebuild_to_pause, claim),
        (claim, by_hand, functools.partial(RunStates.heartbeat, choice=-1)),
        (claim, by_hand, release(QUEUED)),
        (claim, cancel, release(QUEUED)),
        (claim, release(QUEUED)),
        (claim, release(PAUSED, is_retry=True), RunStates.resume_when_due),
        (cancel, resume),
        (pause, cancel),
        (pause, resume),
        (claim, finish(FAILED), resume),
        (by_hand, lose),
        (pause, by_hand, lose),
        (rebuild_to_pause, lose),
        (claim, pause, lose),
        (claim, by_hand, lose),
        (claim, cancel, lose),
        (claim, lose) * MAX_CRASHES,
    ]
    assert {move for way in ways for move in made(store, *way)} == MOVES
