"""Which runs are told, and that it survives restarts."""

import asyncio

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.discord_bot.following import (
    CURVE,
    World,
    checkpoint,
    completed,
    progress,
    queued,
    started,
)
from tests.unit.discord_bot.virtual_time import now, run


def test_a_run_of_somebody_else_is_told_from_the_moment_it_is_watched() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot() as bot:
            world.feed.tell(queued(run_id, user_id="42"), started(run_id, user_id="42"))
            await asyncio.sleep(10)
            await bot.watch(run_id)
            await asyncio.sleep(1)
            world.assert_told(run_id)
            world.feed.tell(completed(run_id, user_id="42"))
            await asyncio.sleep(10)
        world.assert_told(run_id, picture=CURVE)

    run(test)


def test_a_run_that_is_watched_before_its_first_event_is_told_from_it_on() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot() as bot:
            await bot.watch(run_id)
            await asyncio.sleep(10)
            assert world.channel.calls == []
            world.feed.tell(queued(run_id, user_id=None))
            await asyncio.sleep(10)
        world.assert_told(run_id)

    run(test)


def test_what_is_watched_by_hand_is_watched_after_a_restart() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        world.feed.tell(queued(run_id, user_id="42"))
        async with world.bot() as bot:
            await bot.watch(run_id)
        world.feed.tell(started(run_id, user_id="42"))
        async with world.bot() as bot:
            assert bot.watched() == (run_id,)
            await asyncio.sleep(10)
        world.assert_told(run_id)

    run(test)


def test_a_run_that_is_not_watched_any_more_is_not_told_also_after_a_restart() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot() as bot:
            world.feed.tell(queued(run_id))
            await asyncio.sleep(10)
            assert await bot.unwatch(run_id) is True
            assert await bot.unwatch(run_id) is False
            world.feed.tell(started(run_id))
            await asyncio.sleep(600)
        async with world.bot() as bot:
            assert bot.watched() == ()
            world.feed.tell(checkpoint(run_id, 5))
            await asyncio.sleep(600)
        assert world.channel.names_of(run_id) == ["send"]

    run(test)


def test_a_run_that_nobody_wants_to_hear_of_is_not_told_after_its_curve_was_drawn() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot() as bot:
            world.feed.tell(queued(run_id))
            await asyncio.sleep(10)
            world.curve_seconds = 5.0
            world.feed.tell(completed(run_id))
            await asyncio.sleep(2)
            assert await bot.unwatch(run_id) is True
            await asyncio.sleep(60)
        assert world.channel.names_of(run_id) == ["send"]

    run(test)


def test_a_run_that_is_watched_again_is_told_at_once_in_its_message() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot() as bot:
            world.feed.tell(queued(run_id), started(run_id), progress(run_id, 0.01))
            await asyncio.sleep(10)
            await bot.unwatch(run_id)
            world.feed.tell(progress(run_id, 0.02))
            await asyncio.sleep(10)
            await bot.watch(run_id)
            await asyncio.sleep(1)
        world.assert_told(run_id)

    run(test)


def test_watching_a_run_that_is_told_already_tells_nothing_twice() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot() as bot:
            world.feed.tell(queued(run_id))
            await asyncio.sleep(10)
            await bot.watch(run_id)
            await asyncio.sleep(600)
        assert world.channel.names_of(run_id) == ["send"]

    run(test)


def test_a_run_that_nobody_watches_cannot_be_let_go() -> None:
    async def test() -> None:
        async with World().bot() as bot:
            assert await bot.unwatch(new_ulid()) is False

    run(test)


def test_the_watched_runs_are_those_that_go_on_newest_first() -> None:
    async def test() -> None:
        world, runs = World(), sorted(new_ulid() for _ in range(5))
        async with world.bot() as bot:
            world.feed.tell(*(queued(run_id) for run_id in (runs[2], runs[0], runs[3], runs[1])))
            await bot.watch(runs[4])
            await asyncio.sleep(20)
            await bot.unwatch(runs[3])
            world.feed.tell(completed(runs[1]))
            await asyncio.sleep(1)
            assert bot.watched() == (runs[4], runs[2], runs[0])

    run(test)


def test_nothing_can_be_watched_before_the_list_is_held_and_after_it_was_let_go() -> None:
    async def test() -> None:
        world = World()
        async with world.bot() as bot:
            await bot.watch(new_ulid())
        for each in (bot, world.notifier()):
            for asked in (each.watch(new_ulid()), each.unwatch(new_ulid())):
                with pytest.raises(AppError, match="Try again in a minute") as refused:
                    await asked
                assert refused.value.code is ErrorCode.SERVICE_UNAVAILABLE
            assert each.watched() == ()

    run(test)


def test_watching_says_so_when_redis_is_away_and_nothing_is_watched_then() -> None:
    async def test() -> None:
        world = World()

        def away(_: str) -> None:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "away")

        async with world.bot() as bot:
            world.list.hook = away
            with pytest.raises(AppError, match="away"):
                await bot.watch(new_ulid())
            assert bot.watched() == ()
            world.list.hook = lambda _: None

    run(test)


def test_another_owner_hears_nothing_of_the_former_ones_runs() -> None:
    async def test() -> None:
        world, own, watched = World(), new_ulid(), new_ulid()
        async with world.bot() as bot:
            world.feed.tell(queued(own), queued(watched))
            await bot.watch(watched)
            await asyncio.sleep(10)
        world.feed.tell(started(own), started(watched))
        async with world.bot(owner_id=42) as bot:
            assert bot.watched() == (watched,)
            await asyncio.sleep(10)
        assert world.channel.names_of(own) == ["send"]
        assert list(world.list.kept.load().notes) == [watched]

    run(test)


def test_after_a_gap_in_the_feed_every_followed_run_is_told_to_its_end() -> None:
    async def test() -> None:
        world, own, watched, told, lost = World(), new_ulid(), new_ulid(), new_ulid(), new_ulid()
        async with world.bot() as bot:
            world.feed.tell(queued(own), queued(watched, user_id="42"), queued(told), completed(told))
            await bot.watch(watched)
            await asyncio.sleep(10)
        world.feed.tell(started(own), completed(own), started(watched, user_id="42"), queued(lost))
        world.feed.trim()
        num_told = len(world.channel.names_of(told))
        async with world.bot():
            await asyncio.sleep(20)
            world.assert_told(own, picture=CURVE)
            world.assert_told(watched)
            world.feed.tell(started(lost))
            await asyncio.sleep(10)
        world.assert_told(lost)
        assert len(world.channel.names_of(told)) == num_told

    run(test)


def test_behind_a_gap_a_message_is_looked_for_before_one_is_sent() -> None:
    async def test() -> None:
        world, first, new, later = World(), new_ulid(), new_ulid(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(first, user_id="42"))
            await asyncio.sleep(6)
        world.feed.tell(queued(first, user_id="42"))
        world.feed.trim()
        world.feed.tell(*(checkpoint(first, step, user_id="42") for step in range(600)), queued(new))
        async with world.bot():
            await asyncio.sleep(10)
            world.feed.tell(queued(later))
            await asyncio.sleep(10)
        assert world.channel.names_of(new) == ["find", "send"]
        assert world.channel.names_of(later) == ["send"]

    run(test)


def test_behind_a_gap_all_notes_are_written_down_again() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id))
            await asyncio.sleep(10)
            world.list.kept = type(world.list.kept)(clock=now)  # another Redis, an empty one
            await asyncio.sleep(4.5)  # its hold is taken at the next renewal
            world.feed.tell(queued(new_ulid(), user_id="42"))
            world.feed.trim()
            await asyncio.sleep(10)
            assert list(world.list.kept.load().notes) == [run_id]

    run(test)


def test_a_note_that_cannot_be_read_is_told_from_the_runs_events_in_the_message_it_had() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id))
            await asyncio.sleep(10)
        world.list.kept.hold("newer bot", seconds=1)
        world.list.kept.keep("newer bot", notes={run_id: "{}"})
        world.feed.tell(started(run_id))
        await asyncio.sleep(2)
        async with world.bot():
            await asyncio.sleep(10)
        world.assert_told(run_id)
        assert world.channel.names_of(run_id) == ["send", "find", "edit"]

    run(test)


def test_a_redis_that_lost_everything_gets_back_what_the_bot_knows() -> None:
    async def test() -> None:
        world, own, muted, watched = World(), new_ulid(), new_ulid(), new_ulid()
        async with world.bot() as bot:
            world.feed.tell(queued(own), queued(muted), queued(watched, user_id="42"))
            await bot.watch(watched)
            await asyncio.sleep(10)
            await bot.unwatch(muted)
            world.list.kept = type(world.list.kept)(clock=now)
            world.feed.tell(started(own), started(muted), started(watched, user_id="42"))
            await asyncio.sleep(20)
            assert set(world.list.kept.load().notes) == {own, muted, watched}
            assert bot.watched() == tuple(sorted((own, watched), reverse=True))
        for run_id in (own, watched):
            world.assert_told(run_id)
            assert world.channel.names_of(run_id)[-2:] == ["send", "edit"]
        assert world.channel.names_of(muted) == ["send"]

    run(test)
