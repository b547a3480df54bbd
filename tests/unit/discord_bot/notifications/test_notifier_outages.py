"""A bot that dies, waits for another one, or has nobody to talk to."""

import asyncio
import time
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.notifications.messenger import CannotDeliver
from model_trainer.discord_bot.notifications.notifier import HOLD_SECONDS, wall_clock_ms
from tests.unit.discord_bot.following import (
    CURVE,
    Hook,
    World,
    checkpoint,
    completed,
    nothing,
    progress,
    queued,
    started,
)
from tests.unit.discord_bot.virtual_time import now, run


def away(_: str) -> None:
    """As every call to a store that is not there."""
    raise AppError(ErrorCode.STORE_UNAVAILABLE, "Redis is away.")


def refusing(*, retry_after_seconds: float | None = None) -> Hook:
    """As every call to a Discord that takes nothing."""

    def refuse(_: str) -> None:
        raise CannotDeliver("away", retry_after_seconds=retry_after_seconds)

    return refuse


def test_what_happened_while_the_bot_was_away_is_told_at_its_next_start() -> None:
    async def test() -> None:
        world, going_on, ended, new = World(), new_ulid(), new_ulid(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(going_on), queued(ended))
            await asyncio.sleep(10)
        world.feed.tell(started(going_on), completed(ended), queued(new))
        async with world.bot():
            await asyncio.sleep(10)
        world.assert_told(going_on)
        world.assert_told(ended, picture=CURVE)
        world.assert_told(new)
        assert world.channel.names_of(going_on) == ["send", "edit"]

    run(test)


def test_what_waited_for_its_time_is_told_after_a_restart_when_it_comes() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id), started(run_id), progress(run_id, 0.01))
            await asyncio.sleep(10)
            world.feed.tell(progress(run_id, 0.02))
            await asyncio.sleep(10)
        begin = now()
        async with world.bot():
            await asyncio.sleep(400)
        world.assert_told(run_id)
        assert 270 < world.channel.calls[-1].at - begin < 290

    run(test)


def test_a_message_whose_id_was_not_written_down_is_found_again() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id))
            await asyncio.sleep(0.05)  # it is being sent
        assert world.channel.messages == {}
        await world.channel.send(world.card(run_id), nonce="whatever")
        async with world.bot():
            await asyncio.sleep(10)
        world.assert_told(run_id)
        assert world.channel.names_of(run_id) == ["send", "find", "edit"]

    run(test)


def test_one_bot_at_a_time_and_the_next_begins_where_it_stopped() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot() as first:
            with capture_logs() as lines:
                second = world.notifier()
                stop = asyncio.Event()
                running = asyncio.create_task(second.run(stop))
                world.feed.tell(queued(run_id))
                await asyncio.sleep(600)
                assert (first.watched(), second.watched()) == ((run_id,), ())
            assert [line["event"] for line in lines] == ["watch_list_held_by_another_bot"]
        await asyncio.sleep(5)
        assert second.watched() == (run_id,)
        stop.set()
        await running
        assert world.channel.names_of(run_id) == ["send"]

    run(test)


def test_a_bot_that_lost_the_list_tells_nothing_until_it_holds_it_again() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot(holder="this one") as bot:
            world.feed.tell(queued(run_id))
            await asyncio.sleep(10)
            with capture_logs() as lines:
                world.list.kept.let_go("this one")
                assert world.list.kept.hold("another", seconds=100)
                world.feed.tell(started(run_id))
                await asyncio.sleep(50)
                assert world.channel.names_of(run_id) == ["send"]
                assert bot.watched() == ()
                await asyncio.sleep(60)
            events = [line["event"] for line in lines]
            assert events == ["watch_list_lost", "watch_list_held_by_another_bot"]
        world.assert_told(run_id)
        assert world.channel.names_of(run_id) == ["send", "edit"]

    run(test)


def test_a_renewal_that_is_refused_is_the_end_of_telling_too() -> None:
    async def test() -> None:
        world = World()
        async with world.bot(holder="this one") as bot:
            await bot.watch(new_ulid())
            world.list.kept.let_go("this one")
            world.list.kept.hold("another", seconds=100)
            await asyncio.sleep(4.5)
            assert bot.watched() == ()

    run(test)


def test_the_list_is_held_for_as_long_as_the_bot_lives() -> None:
    async def test() -> None:
        world = World()
        async with world.bot():
            for _ in range(100):
                await asyncio.sleep(HOLD_SECONDS / 7)
                assert not world.list.kept.hold("another", seconds=1)
        assert world.list.kept.hold("another", seconds=1)

    run(test)


@pytest.mark.parametrize("outage_seconds", [3.0, 200.0])
def test_nothing_is_lost_and_one_line_is_logged_while_redis_is_away(outage_seconds: float) -> None:
    async def test() -> None:
        world, runs = World(), [new_ulid() for _ in range(3)]
        async with world.bot():
            world.feed.tell(*(queued(run_id) for run_id in runs))
            await asyncio.sleep(10)
            with capture_logs() as lines:
                world.feed.hook = world.list.hook = away
                world.feed.tell(started(runs[0]), completed(runs[1]))
                await asyncio.sleep(outage_seconds)
                world.feed.hook = world.list.hook = nothing
                world.feed.tell(started(runs[2]))
                await asyncio.sleep(60)
            events = [line["event"] for line in lines if line.get("detail", "").startswith("store")]
            assert events == ["outage_began", "outage_over"]
        world.assert_told(runs[0])
        world.assert_told(runs[1], picture=CURVE)
        world.assert_told(runs[2])

    run(test)


def test_who_could_not_renew_its_hold_for_its_time_stops_telling() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot() as bot:
            world.feed.tell(queued(run_id))
            await asyncio.sleep(10)
            world.list.hook = away
            await asyncio.sleep(HOLD_SECONDS - 5)
            assert bot.watched() == (run_id,)
            await asyncio.sleep(10)
            assert bot.watched() == ()
            world.list.hook = nothing
            await asyncio.sleep(31)
            assert bot.watched() == (run_id,)

    run(test)


def test_a_message_that_was_sent_while_redis_went_away_is_not_sent_again() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()

        def fall(call: str) -> None:
            if call == "send+":
                world.list.hook = away

        async with world.bot():
            world.channel.hook = fall
            world.feed.tell(queued(run_id))
            await asyncio.sleep(400)  # longer than Discord remembers a nonce
            world.channel.hook = world.list.hook = nothing
            world.feed.tell(started(run_id))
            await asyncio.sleep(60)
        world.assert_told(run_id)
        assert world.channel.names_of(run_id).count("send") == 1

    run(test)


def test_discord_is_asked_again_after_growing_pauses_and_one_line_is_logged() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.channel.hook = refusing()
            with capture_logs() as lines:
                world.feed.tell(queued(run_id))
                await asyncio.sleep(200)
                world.feed.tell(started(run_id))
                world.channel.hook = nothing
                await asyncio.sleep(60)
        times = [call.at for call in world.channel.calls]
        pauses = [after - before for before, after in pairwise(times)]
        assert max(pauses) < 31
        assert 8 < len(times) < 15
        events = [(line["event"], line.get("detail")) for line in lines]
        assert events == [("outage_began", "discord: away"), ("outage_over", "discord")]
        world.assert_told(run_id)

    run(test)


def test_discord_is_left_alone_for_as_long_as_it_says() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.channel.hook = refusing(retry_after_seconds=100.0)
            world.feed.tell(queued(run_id))
            await asyncio.sleep(50)
            world.channel.hook = nothing
            await asyncio.sleep(49)
            assert len(world.channel.calls) == 1
            await asyncio.sleep(10)
        world.assert_told(run_id)

    run(test)


def test_a_message_that_arrived_although_discord_did_not_say_so_is_found() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()

        def lose_the_answer(call: str) -> None:
            if call == "send+":
                raise CannotDeliver("timeout", retry_after_seconds=400.0)

        async with world.bot():
            world.channel.hook = lose_the_answer
            world.feed.tell(queued(run_id))
            await asyncio.sleep(420)
        world.assert_told(run_id)
        assert world.channel.names_of(run_id) == ["send", "find", "edit"]

    run(test)


def test_one_message_that_discord_never_takes_does_not_stop_the_others() -> None:
    async def test() -> None:
        world, refused, others = World(), new_ulid(), [new_ulid() for _ in range(3)]

        def refuse_one(call: str) -> None:
            if call in ("send", "edit") and world.channel.calls[-1].mark == refused:
                raise CannotDeliver("refused")

        async with world.bot():
            world.channel.hook = refuse_one
            world.feed.tell(queued(refused, kind="export"), completed(refused))
            world.feed.tell(*(queued(run_id) for run_id in others))
            await asyncio.sleep(30)
            world.feed.tell(*(started(run_id) for run_id in others))
            await asyncio.sleep(90)
        for run_id in others:
            world.assert_told(run_id)
        assert world.channel.of_run(refused) == []

    run(test)


@pytest.mark.parametrize("num_ended", [1, 120])
def test_stopping_waits_for_nothing_and_nothing_is_lost_by_it(num_ended: int) -> None:
    async def test() -> None:
        world, runs = World(), [new_ulid() for _ in range(num_ended)]
        begin = 0.0
        async with world.bot():
            world.channel.hook = refusing(retry_after_seconds=3_600.0)
            for run_id in runs:
                world.feed.tell(queued(run_id, kind="export"), completed(run_id))
            await asyncio.sleep(10)
            begin = now()
        assert now() - begin < 0.01
        world.channel.hook = nothing
        async with world.bot():
            await asyncio.sleep(400)
        for run_id in runs:
            world.assert_told(run_id)

    run(test)


def test_a_list_that_cannot_be_let_go_runs_out_by_itself() -> None:
    async def test() -> None:
        world = World()

        def fail(call: str) -> None:
            if call == "let_go":
                away(call)

        world.list.hook = fail
        with capture_logs() as lines:
            async with world.bot():
                pass
        assert [line["event"] for line in lines] == ["watch_list_not_let_go"]
        assert not world.list.kept.hold("another", seconds=1)
        await asyncio.sleep(HOLD_SECONDS)
        assert world.list.kept.hold("another", seconds=1)

    run(test)


def test_a_renewal_that_fails_for_good_ends_the_notifier() -> None:
    async def test() -> None:
        world = World()
        running = asyncio.create_task(world.notifier().run(asyncio.Event()))
        await asyncio.sleep(1)

        def broken(call: str) -> None:
            if call == "hold":
                raise AppError(ErrorCode.INTERNAL, "broken")

        world.list.hook = broken
        with pytest.raises(AppError, match="broken"):
            await running

    run(test)


def test_the_clock_is_the_wall_clock_in_milliseconds() -> None:
    before = time.time()
    told = wall_clock_ms()
    assert before - 1 <= told / 1000 <= time.time() + 1


def test_a_bot_whose_task_is_cancelled_lets_go_of_the_list() -> None:
    async def test() -> None:
        world = World()
        running = asyncio.create_task(world.notifier().run(asyncio.Event()))
        await asyncio.sleep(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert world.list.kept.hold("another", seconds=1)

    run(test)


def test_telling_goes_on_while_a_checkpoint_storm_is_read() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id))
            for step in range(200):
                world.feed.tell(checkpoint(run_id, step))
                await asyncio.sleep(0.1)
            assert len(world.channel.calls) >= 8

    run(test)


def test_a_task_that_swallows_its_cancellation_does_not_hold_up_the_end() -> None:
    async def test() -> None:
        world = World()
        world.feed.swallowed = 2
        async with world.bot():
            pass
        assert world.feed.swallowed == 0

    run(test)
