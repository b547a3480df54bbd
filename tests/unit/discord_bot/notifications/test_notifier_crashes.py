"""A bot that is killed between any two effects, while runs go on and Redis and Discord fail now and then."""

import asyncio
from random import Random

import pytest

from model_trainer.core.contracts.events import Event
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.notifications.messenger import CannotDeliver
from tests.unit.discord_bot.following import (
    CURVE,
    World,
    checkpoint,
    completed,
    failed,
    progress,
    queued,
    started,
)
from tests.unit.discord_bot.virtual_time import run

CHANNEL_CALLS = ("send", "edit", "find")


class Killed(Exception):
    """As SIGKILL would."""


class Life:
    """Of one process: it ends after so many calls, and then nothing works any more."""

    def __init__(self, chance: Random, *, num_calls: float) -> None:
        self._chance = chance
        self._left = num_calls
        self.fault_rate = 0.1

    def __call__(self, call: str) -> None:
        self._left -= 1
        if self._left <= 0:
            raise Killed
        if call == "let_go" or self._chance.random() >= self.fault_rate:
            return
        if call.rstrip("+") in CHANNEL_CALLS:
            raise CannotDeliver("away", retry_after_seconds=self._chance.choice([None, 1.0, 7.0]))
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Redis is away.")


def run_events(run_id: str, chance: Random, user_id: str | None) -> list[Event]:
    """The life of a run."""
    events = [queued(run_id, user_id=user_id), started(run_id, user_id=user_id)]
    for step in range(1, chance.randrange(2, 12)):
        events.append(progress(run_id, step / 12, user_id=user_id))
        if chance.random() < 0.3:
            events.append(checkpoint(run_id, step, user_id=user_id))
    if chance.random() < 0.3:
        events += [failed(run_id, user_id=user_id), queued(run_id, user_id=user_id)]
        events += [started(run_id, user_id=user_id, attempt=2)]
    return [*events, completed(run_id, user_id=user_id)]


@pytest.mark.parametrize("seed", range(40))
def test_whenever_it_is_killed_each_run_has_one_message_with_its_whole_story(seed: int) -> None:
    chance = Random(seed)

    async def grow(world: World, lives: list[list[Event]]) -> None:
        while any(lives):
            await asyncio.sleep(chance.choice([0.0, 0.01, 1.0, 20.0]))
            events = chance.choice([each for each in lives if each])
            world.feed.tell(events.pop(0))

    async def live(world: World, life: Life, watched: str) -> None:
        """Until it is killed, or for ten minutes at the end."""
        world.feed.hook = world.list.hook = world.channel.hook = life
        notifier = world.notifier()
        stop = asyncio.Event()
        running = asyncio.create_task(notifier.run(stop))

        async def watch() -> None:
            while watched not in notifier.watched():
                await asyncio.sleep(1.0)
                try:
                    await notifier.watch(watched)
                except (AppError, Killed):
                    continue

        watching = asyncio.create_task(watch())
        try:
            await asyncio.wait(
                {running, asyncio.create_task(asyncio.sleep(600))}, return_when="FIRST_COMPLETED"
            )
        finally:
            watching.cancel()
            stop.set()
            await asyncio.gather(watching, running, return_exceptions=True)

    async def test() -> None:
        world = World()
        own = [new_ulid() for _ in range(4)]
        watched, foreign = new_ulid(), new_ulid()
        async with world.bot():  # it has been there before
            pass
        lives = [run_events(run_id, chance, "4711") for run_id in own]
        lives += [run_events(run_id, chance, "42") for run_id in (watched, foreign)]
        growing = asyncio.create_task(grow(world, lives))
        while not growing.done():
            await live(world, Life(chance, num_calls=chance.randrange(1, 60)), watched)
            await asyncio.sleep(chance.choice([0.0, 30.0]))
        peaceful = Life(chance, num_calls=float("inf"))
        peaceful.fault_rate = 0.0
        world.feed.hook = world.list.hook = world.channel.hook = peaceful
        async with world.bot() as bot:
            await asyncio.sleep(60)
            await bot.watch(watched)
            await asyncio.sleep(600)
        for run_id in (*own, watched):
            world.assert_told(run_id, picture=CURVE)
        assert world.channel.of_run(foreign) == []

    run(test)
