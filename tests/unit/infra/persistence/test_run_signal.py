import asyncio
import socket

import pytest

from model_trainer.infra.persistence.memory import MemoryRunSignal
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.run_signal import RedisRunSignal
from tests.contract.run_stores import redis_store

LONG = 20.0


async def woken(signal: RedisRunSignal, run_id: str) -> "asyncio.Task[None]":
    waiting = asyncio.create_task(signal.wait(run_id, timeout_seconds=LONG))
    await asyncio.sleep(0.01)
    return waiting


def test_one_subscription_serves_all_readers(redis_url: str, client: RedisClient) -> None:
    async def story() -> None:
        signal = RedisRunSignal(redis_url)
        await signal.wait("warm-up", timeout_seconds=1.0)
        readers = [await woken(signal, f"run-{number}") for number in range(5)]
        assert client.call("PUBSUB", "NUMSUB", "trainer:events") == ["trainer:events", 1]
        await signal.close()
        await asyncio.gather(*readers)

    asyncio.run(story())


def test_what_a_store_does_wakes_its_readers(redis_url: str, client: RedisClient) -> None:
    store = redis_store(client)

    async def story() -> None:
        signal = RedisRunSignal(redis_url)
        await signal.wait("warm-up", timeout_seconds=1.0)
        run_id = store.submit()
        reader = await woken(signal, run_id)
        await asyncio.to_thread(store.claim, run_id)
        await asyncio.wait_for(reader, LONG / 2)
        await signal.close()

    asyncio.run(story())


def test_a_broken_subscription_comes_back_and_wakes_who_may_have_missed_something(
    redis_url: str, client: RedisClient
) -> None:
    async def story() -> None:
        signal = RedisRunSignal(redis_url)
        await signal.wait("warm-up", timeout_seconds=1.0)
        for _ in range(2):
            reader = await woken(signal, "a")
            await asyncio.to_thread(client.call, "CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.wait_for(reader, LONG / 2)
        await signal.close()

    asyncio.run(story())


def test_what_is_no_note_of_ours_is_passed_over(redis_url: str, client: RedisClient) -> None:
    async def story() -> None:
        signal = RedisRunSignal(redis_url)
        await signal.wait("warm-up", timeout_seconds=1.0)
        reader = await woken(signal, "a")
        for note in ("not json", '{"seq":1}', '{"run_id":"a"}'):
            await asyncio.to_thread(client.call, "PUBLISH", "trainer:events", note)
        await asyncio.wait_for(reader, LONG / 2)
        await signal.close()

    asyncio.run(story())


def test_bytes_that_are_no_text_do_not_end_the_listening(redis_url: str, client: RedisClient) -> None:
    async def story() -> None:
        signal = RedisRunSignal(redis_url)
        await signal.wait("warm-up", timeout_seconds=1.0)
        await asyncio.to_thread(client.call, "PUBLISH", "trainer:events", b"\xff")
        await signal.wait("a", timeout_seconds=LONG / 2)  # until it listens again
        reader = await woken(signal, "a")
        await asyncio.to_thread(client.call, "PUBLISH", "trainer:events", '{"run_id":"a"}')
        await asyncio.wait_for(reader, LONG / 2)
        await signal.close()

    asyncio.run(story())


@pytest.mark.parametrize("closes", [1, 2])
def test_without_a_server_readers_wait_for_their_timeout(closes: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]

    async def story() -> None:
        signal = RedisRunSignal(f"redis://127.0.0.1:{port}")
        await signal.wait("a", timeout_seconds=0.05)
        for _ in range(closes):
            await signal.close()

    asyncio.run(story())


def test_news_after_the_loop_has_ended_is_for_nobody() -> None:
    signal = MemoryRunSignal()
    asyncio.run(signal.wait("a", timeout_seconds=0.0))
    signal.announce("a")
