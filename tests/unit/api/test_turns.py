"""Work in its turn: so many at once, so many waiting, the others sent away."""

import threading

import anyio
import pytest

from model_trainer.api.turns import Turns
from model_trainer.core.errors import AppError, ErrorCode


def test_one_works_one_waits_and_the_third_is_sent_away() -> None:
    go, working, most = threading.Event(), 0, 0

    def work() -> str:
        nonlocal working, most
        working += 1
        most = max(most, working)
        assert go.wait(30)
        working -= 1
        return "done"

    async def crowd() -> list[str]:
        turns = Turns(at_once=1, most=2)
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await turns.run(work))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(AppError, match="ask again") as caught:
                await turns.run(work)
            go.set()
        assert caught.value.code is ErrorCode.SERVICE_UNAVAILABLE
        answers.append(await turns.run(work))
        return answers

    assert anyio.run(crowd) == ["done"] * 3
    assert most == 1


def test_a_fault_gives_its_place_back() -> None:
    def fail() -> None:
        raise ValueError("broken")

    async def twice() -> None:
        turns = Turns(at_once=1, most=1)
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                await turns.run(fail)

    anyio.run(twice)
