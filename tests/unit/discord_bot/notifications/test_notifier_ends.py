"""The loss curve that belongs to the end of a training, and messages that Discord does not take."""

import asyncio
from itertools import pairwise

from structlog.testing import capture_logs

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.notifications.messenger import MessageRefused
from tests.unit.discord_bot.following import CURVE, World, completed, failed, nothing, queued, started
from tests.unit.discord_bot.virtual_time import run


class CurveTrouble:
    """Fails so often."""

    def __init__(self, num_failures: int) -> None:
        self._left = num_failures

    def __call__(self, _: str) -> None:
        self._left -= 1
        if self._left >= 0:
            raise AppError(ErrorCode.SERVICE_UNAVAILABLE, "/home/secret")


def test_a_curve_that_fails_is_tried_again_and_others_are_told_meanwhile() -> None:
    async def test() -> None:
        world, run_id, other = World(), new_ulid(), new_ulid()
        world.hook_of_curve = CurveTrouble(2)
        async with world.bot():
            with capture_logs() as lines:
                world.feed.tell(queued(run_id), completed(run_id), queued(other))
                await asyncio.sleep(20)
        world.assert_told(run_id, picture=CURVE)
        assert [call.mark for call in world.channel.calls] == [other, run_id]
        assert [(line["event"], line["detail"]) for line in lines] == [
            ("discord_curve_failed", "AppError")
        ] * 2

    run(test)


def test_an_end_is_told_without_its_curve_after_three_tries() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        world.hook_of_curve = CurveTrouble(3)
        async with world.bot():
            world.feed.tell(queued(run_id), failed(run_id))
            await asyncio.sleep(20)
            world.assert_told(run_id)
            assert len(world.curves) == 3
            world.feed.tell(queued(run_id), completed(run_id))  # another end, other tries
            await asyncio.sleep(20)
        world.assert_told(run_id, picture=CURVE)

    run(test)


def test_a_curve_that_takes_too_long_has_failed() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()

        async def curve(_: RunStory) -> None:
            await asyncio.sleep(3_600)

        notifier = world.notifier(curve=curve)
        stop = asyncio.Event()
        running = asyncio.create_task(notifier.run(stop))
        await asyncio.sleep(1)
        world.feed.tell(queued(run_id), completed(run_id))
        await asyncio.sleep(80)
        world.assert_told(run_id)
        stop.set()
        await running

    run(test)


def test_a_training_without_a_curve_ends_without_one() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        world.picture = None
        async with world.bot():
            world.feed.tell(queued(run_id), completed(run_id))
            await asyncio.sleep(2)
        world.assert_told(run_id)
        assert world.curves == [run_id]

    run(test)


def test_a_curve_that_could_not_be_drawn_at_the_end_comes_when_it_can() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        world.hook_of_curve = CurveTrouble(3)
        async with world.bot():
            world.feed.tell(queued(run_id), completed(run_id))
            await asyncio.sleep(20)
            world.assert_told(run_id)
        async with world.bot():  # another bot knows what is missing
            await asyncio.sleep(200)
            world.assert_told(run_id)
            await asyncio.sleep(100)
            world.assert_told(run_id, picture=CURVE)
            calls = len(world.channel.calls)
            await asyncio.sleep(2 * 3600)
        assert (len(world.curves), len(world.channel.calls)) == (4, calls)

    run(test)


def test_a_curve_that_never_can_be_drawn_is_given_up_after_an_hour() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        world.hook_of_curve = CurveTrouble(10**6)
        async with world.bot():
            world.feed.tell(queued(run_id), completed(run_id))
            await asyncio.sleep(3600 + 300)
            tries = len(world.curves)
            await asyncio.sleep(3600)
        assert 30 < tries == len(world.curves)
        world.assert_told(run_id)

    run(test)


def test_nobody_who_does_not_want_to_hear_of_a_run_is_sent_its_curve() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        world.hook_of_curve = CurveTrouble(3)
        async with world.bot() as notifier:
            world.feed.tell(queued(run_id), completed(run_id))
            await asyncio.sleep(20)
            await notifier.unwatch(run_id)
            await asyncio.sleep(1000)
        assert len(world.curves) == 3
        world.assert_told(run_id)

    run(test)


def test_a_message_that_discord_never_takes_is_tried_now_and_then_and_holds_nobody_up() -> None:
    async def test() -> None:
        world, poison, other = World(), new_ulid(), new_ulid()

        def refuse(name: str) -> None:
            if name == "send" and world.channel.calls[-1].mark == poison:
                raise MessageRefused("400 50035")

        async with world.bot():
            world.channel.hook = refuse
            with capture_logs() as lines:
                world.feed.tell(queued(poison), queued(other))
                await asyncio.sleep(30)
                world.assert_told(other)
                world.feed.tell(started(poison))
                await asyncio.sleep(870)
            world.channel.hook = nothing
            await asyncio.sleep(300)
        times = [call.at for call in world.channel.calls if (call.name, call.mark) == ("send", poison)]
        assert [round((later - earlier) / 300, 1) for earlier, later in pairwise(times)] == [1.0] * 3
        refused = [line["run_id"] for line in lines if line["event"] == "discord_message_refused"]
        assert refused == [poison] * 3
        assert [line["event"] for line in lines if line["event"] == "outage_began"] == []
        world.assert_told(poison)

    run(test)
