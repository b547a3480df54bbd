"""What the owner sees of their runs, and how often."""

import asyncio

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.cards.run_card import run_card
from model_trainer.discord_bot.notifications.messenger import CannotDeliver
from model_trainer.discord_bot.notifications.notes import NUM_ENDED_KEPT
from tests.unit.discord_bot.following import (
    CURVE,
    World,
    checkpoint,
    completed,
    failed,
    nothing,
    progress,
    queued,
    started,
)
from tests.unit.discord_bot.virtual_time import now, run


def test_a_run_has_one_message_from_its_order_to_its_end() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            for event in (queued(run_id), started(run_id), progress(run_id, 0.5), completed(run_id)):
                world.feed.tell(event)
                await asyncio.sleep(10)
                assert world.channel.of_run(run_id)[0].title == run_card(world.feed.story(run_id)).title
        world.assert_told(run_id, picture=CURVE)
        assert world.channel.names_of(run_id) == ["send", "edit", "edit", "edit"]

    run(test)


def test_what_is_told_at_once_does_not_wait_for_the_next_look() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            begin = now()
            world.feed.tell(queued(run_id))
            await asyncio.sleep(4)
        assert world.channel.calls[0].at - begin < 0.2

    run(test)


def test_what_happens_during_a_look_is_not_missed() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()

        def late(call: str) -> None:
            if call == "read+" and run_id not in world.feed.streams:
                world.feed.tell(queued(run_id))

        async with world.bot():
            world.feed.hook = late
            begin = now()
            await asyncio.sleep(6)
        look_at = begin + 4.0  # every five seconds, the first one second before
        assert world.channel.calls[0].at < look_at + 0.2

    run(test)


def test_every_kind_of_job_is_told_and_trainings_alone_end_with_a_curve() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id, kind="tokenizer"), started(run_id), completed(run_id))
            await asyncio.sleep(10)
        world.assert_told(run_id)
        assert world.curves == []

    run(test)


def test_runs_of_others_are_not_told() -> None:
    async def test() -> None:
        world = World()
        async with world.bot():
            world.feed.tell(queued(new_ulid(), user_id="42"), queued(new_ulid(), user_id=None))
            await asyncio.sleep(600)
        assert world.channel.calls == []
        assert world.list.kept.load().position == "2-0"

    run(test)


def test_history_is_not_told_at_the_first_start_and_what_goes_on_is_told_whole() -> None:
    async def test() -> None:
        world, old, going_on = World(), new_ulid(), new_ulid()
        world.feed.tell(queued(old), completed(old), queued(going_on))
        async with world.bot():
            await asyncio.sleep(600)
            assert world.channel.calls == []
            world.feed.tell(started(going_on))
            await asyncio.sleep(10)
        world.assert_told(going_on)
        assert world.channel.of_run(old) == []

    run(test)


def test_mere_progress_is_told_at_milestones_and_every_five_minutes() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id), started(run_id))
            await asyncio.sleep(10)
            num_before = len(world.channel.calls)
            for percent in range(50):
                world.feed.tell(progress(run_id, percent / 100))
                await asyncio.sleep(20)
            assert len(world.channel.calls) - num_before == 5  # a new phase, and four tenths
            world.feed.tell(progress(run_id, 0.495))
            await asyncio.sleep(301)
        assert len(world.channel.calls) - num_before == 6
        world.assert_told(run_id)

    run(test)


def test_a_burst_of_events_is_a_handful_of_edits() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id), started(run_id))
            for step in range(1_000):
                world.feed.tell(checkpoint(run_id, step))
                await asyncio.sleep(0.01)
            await asyncio.sleep(10)
        world.assert_told(run_id)
        assert len(world.channel.calls) <= 8

    run(test)


def test_however_many_runs_there_are_the_channel_hears_three_calls_in_five_seconds() -> None:
    async def test() -> None:
        world, runs = World(), [new_ulid() for _ in range(12)]
        async with world.bot():
            for round_number in range(20):
                for run_id in runs:
                    world.feed.tell(queued(run_id) if round_number == 0 else checkpoint(run_id, round_number))
                await asyncio.sleep(3)
            num_turns = [len(world.channel.names_of(run_id)) for run_id in runs]
            await asyncio.sleep(60)
        times = [call.at for call in world.channel.calls]
        assert len(times) > 40
        assert all(fourth - first >= 5.0 for first, fourth in zip(times, times[3:], strict=False))
        assert max(num_turns) - min(num_turns) <= 1
        for run_id in runs:
            world.assert_told(run_id)

    run(test)


def test_an_end_is_told_before_what_has_waited_longer() -> None:
    async def test() -> None:
        world, runs, ending = World(), [new_ulid() for _ in range(9)], new_ulid()
        async with world.bot():
            world.feed.tell(queued(ending))
            await asyncio.sleep(10)
            world.feed.tell(*(queued(run_id) for run_id in runs))
            await asyncio.sleep(4)
            world.feed.tell(completed(ending))
            await asyncio.sleep(60)
        marks = [call.mark for call in world.channel.calls]
        assert marks[1 + 3] == ending  # three of the others were told before it had ended
        assert len(marks) == 11

    run(test)


def test_an_end_that_was_refused_once_and_then_taken_goes_first_again() -> None:
    async def test() -> None:
        world, run_id, others = World(), new_ulid(), [new_ulid() for _ in range(4)]

        def refuse_once(_: str) -> None:
            world.channel.hook = nothing
            raise CannotDeliver("away")

        async with world.bot():
            world.channel.hook = refuse_once
            world.feed.tell(queued(run_id))
            await asyncio.sleep(20)
            num_before = len(world.channel.calls)
            world.feed.tell(*(queued(other) for other in others), completed(run_id))
            await asyncio.sleep(20)
        assert world.channel.calls[num_before].mark == run_id

    run(test)


def test_a_failed_run_that_is_resumed_goes_on_in_its_message() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id), started(run_id), failed(run_id))
            await asyncio.sleep(10)
            assert world.channel.of_run(run_id)[0].picture == CURVE
            world.feed.tell(queued(run_id), started(run_id, attempt=2))
            await asyncio.sleep(10)
        world.assert_told(run_id)

    run(test)


def test_a_deleted_message_is_sent_anew_and_only_once() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id))
            for attempt in (1, 2):
                await asyncio.sleep(10)
                world.channel.delete(run_id)
                world.feed.tell(started(run_id, attempt=attempt))
            await asyncio.sleep(10)
            world.feed.tell(checkpoint(run_id, 5))
            await asyncio.sleep(10)
        world.assert_told(run_id)
        again = ["edit", "find", "send"]
        assert world.channel.names_of(run_id) == ["send", *again, *again, "edit"]

    run(test)


def test_a_hole_that_an_unknown_event_leaves_stops_nothing() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id), started(run_id))
            world.feed.tell_unknown(run_id)
            world.feed.tell(checkpoint(run_id, 5))
            await asyncio.sleep(10)
        world.assert_told(run_id)
        assert world.feed.story(run_id).seq == 4

    run(test)


def test_events_that_come_in_order_need_no_look_at_the_runs_own_stream() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(run_id), started(run_id), checkpoint(run_id, 5))
            await asyncio.sleep(10)
        assert world.feed.asked_of_run == []

    run(test)


def test_more_events_than_a_page_holds_are_all_read() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        async with world.bot():
            begin = now()
            world.feed.tell(queued(run_id), started(run_id))
            world.feed.tell(*(checkpoint(run_id, step) for step in range(2_000)), completed(run_id))
            await asyncio.sleep(10)
        world.assert_told(run_id, picture=CURVE)
        assert world.channel.calls[-1].at - begin < 5

    run(test)


def test_ended_runs_are_forgotten_when_there_are_many_newer_ones() -> None:
    async def test() -> None:
        world, oldest = World(), new_ulid()
        async with world.bot():
            world.feed.tell(queued(oldest, kind="export"), completed(oldest))
            await asyncio.sleep(10)
            for _ in range(NUM_ENDED_KEPT):
                run_id = new_ulid()
                world.feed.tell(queued(run_id, kind="export"), completed(run_id))
                await asyncio.sleep(10)
            kept = world.list.kept.load().notes
            assert len(kept) == NUM_ENDED_KEPT
            assert oldest not in kept
            # Met again, it is looked for before anything is sent.
            world.feed.tell(checkpoint(oldest, 5))
            await asyncio.sleep(10)
        world.assert_told(oldest)
        assert world.channel.names_of(oldest) == ["send", "find", "edit"]

    run(test)


@pytest.mark.parametrize("call", ["load", "keep", "hold"])
def test_an_error_that_waiting_does_not_mend_ends_the_notifier(call: str) -> None:
    async def test() -> None:
        world = World()

        def broken(name: str) -> None:
            if name == call:
                raise AppError(ErrorCode.INTERNAL, "broken")

        world.list.hook = broken
        with pytest.raises(AppError, match="broken"):
            await world.notifier().run(asyncio.Event())

    run(test)
