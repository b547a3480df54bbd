"""What every run signal promises: news wakes a reader up; a lost signal costs it the timeout and no more."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from model_trainer.core.ports.runs import RunSignal
from model_trainer.infra.persistence.memory import MemoryRunSignal
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.run_signal import RedisRunSignal

LONG = 20.0


@dataclass
class SignalUnderTest:
    """A signal, and a way to announce news as a store would."""

    signal: RunSignal
    announce: Callable[[str], object]


@pytest.fixture(params=["redis", "memory"])
def heard(request: pytest.FixtureRequest) -> SignalUnderTest:
    if request.param == "memory":
        memory = MemoryRunSignal()
        return SignalUnderTest(signal=memory, announce=memory.announce)
    client: RedisClient = request.getfixturevalue("client")
    url: str = request.getfixturevalue("redis_url")

    def announce(run_id: str) -> object:
        return client.call(
            "PUBLISH", "trainer:events", f'{{"run_id":"{run_id}","seq":1,"type":"x","user_id":null}}'
        )

    return SignalUnderTest(signal=RedisRunSignal(url, poll_seconds=0.01), announce=announce)


def with_signal(heard: SignalUnderTest, story: Callable[[], Awaitable[None]]) -> None:
    async def told() -> None:
        # The first wait also sets the subscription up, and may end at once when it stands.
        await heard.signal.wait("warm-up", timeout_seconds=0.2)
        try:
            await story()
        finally:
            await heard.signal.close()

    asyncio.run(told())


async def until_woken(signal: RunSignal, run_id: str, announce: Callable[[], object]) -> None:
    waiting = asyncio.create_task(signal.wait(run_id, timeout_seconds=LONG))
    await asyncio.sleep(0.01)
    await asyncio.to_thread(announce)
    await asyncio.wait_for(waiting, LONG / 2)


def test_news_wakes_the_readers_of_that_run(heard: SignalUnderTest) -> None:
    async def story() -> None:
        both = asyncio.gather(*(heard.signal.wait("a", timeout_seconds=LONG) for _ in range(2)))
        other = asyncio.create_task(heard.signal.wait("b", timeout_seconds=LONG))
        await until_woken(heard.signal, "a", lambda: heard.announce("a"))
        await asyncio.wait_for(both, LONG / 2)
        assert not other.done()
        other.cancel()

    with_signal(heard, story)


def test_without_news_a_reader_waits_for_its_timeout(heard: SignalUnderTest) -> None:
    async def story() -> None:
        before = time.monotonic()
        await heard.signal.wait("a", timeout_seconds=0.03)
        assert time.monotonic() - before >= 0.02

    with_signal(heard, story)


def test_closing_wakes_everybody_up(heard: SignalUnderTest) -> None:
    async def story() -> None:
        waiting = asyncio.create_task(heard.signal.wait("a", timeout_seconds=LONG))
        await asyncio.sleep(0.01)
        await heard.signal.close()
        await asyncio.wait_for(waiting, LONG / 2)

    with_signal(heard, story)


def test_news_for_nobody_and_closing_twice_are_fine(heard: SignalUnderTest) -> None:
    async def story() -> None:
        heard.announce("nobody")
        await asyncio.sleep(0.01)
        await heard.signal.close()

    with_signal(heard, story)
    heard.announce("late")
