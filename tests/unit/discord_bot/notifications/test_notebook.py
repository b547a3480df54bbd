"""The notes in memory and in the watch list, when the two meet trouble."""

import asyncio

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.notifications.notebook import Notebook
from model_trainer.discord_bot.notifications.notes import RunNote, read_note
from tests.unit.discord_bot.following import (
    OWNER,
    World,
    checkpoint,
    completed,
    nothing,
    progress,
    queued,
    started,
)
from tests.unit.discord_bot.virtual_time import now, run

HOLDER = "this one"


async def opened(world: World) -> Notebook:
    """A notebook whose list is held."""
    notebook = Notebook(world.feed, world.list, holder=HOLDER, owner_id=OWNER)
    world.list.hold(HOLDER, seconds=1_000)
    await notebook.open()
    return notebook


def test_the_position_of_a_first_start_is_written_down_before_anything_is_read() -> None:
    async def test() -> None:
        world = World()
        world.feed.tell(queued(new_ulid()))
        await opened(world)
        assert world.list.kept.load().position == "1-0"

    run(test)


def test_position_and_notes_of_a_page_are_written_in_one_step() -> None:
    async def test() -> None:
        world, runs, calls = World(), [new_ulid() for _ in range(3)], list[str]()
        notebook = await opened(world)
        world.feed.tell(*(queued(run_id) for run_id in runs))
        world.list.hook = calls.append
        assert await notebook.read_on() is False
        assert calls == ["keep", "keep+"]
        state = world.list.kept.load()
        assert state.position == "3-0"
        assert {run_id: read_note(run_id, text) for run_id, text in state.notes.items()} == {
            run_id: RunNote(story=world.feed.story(run_id)) for run_id in runs
        }

    run(test)


def test_nothing_is_written_when_there_is_nothing_new() -> None:
    async def test() -> None:
        world, calls = World(), list[str]()
        notebook = await opened(world)
        world.list.hook = calls.append
        await notebook.read_on()
        assert calls == []

    run(test)


def test_memory_does_not_run_ahead_of_the_list() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        notebook = await opened(world)

        def away(_: str) -> None:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "away")

        world.feed.tell(queued(run_id))
        world.list.hook = away
        with pytest.raises(AppError, match="away"):
            await notebook.read_on()
        assert list(notebook.notes) == []
        world.list.hook = nothing
        await notebook.read_on()
        assert [note.story for note in notebook.notes] == [world.feed.story(run_id)]

    run(test)


def test_a_change_of_a_note_that_was_let_go_meanwhile_changes_nothing() -> None:
    async def test() -> None:
        world = World()
        notebook = await opened(world)
        await notebook.change(new_ulid(), RunNote.muted)
        assert notebook.notes == ()
        assert world.list.kept.load().notes == {}

    run(test)


def test_a_change_is_made_to_the_note_as_it_stands_by_then() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        notebook = await opened(world)
        world.feed.tell(queued(run_id))
        await notebook.read_on()
        told = notebook.notes[0].story
        world.feed.tell(started(run_id))

        def tell(note: RunNote) -> RunNote:
            return note.after_telling(told, message_id="m1", at_ms=1)

        await asyncio.gather(notebook.read_on(), notebook.change(run_id, tell), notebook.unwatch(run_id))
        note = notebook.notes[0]
        assert (note.story, note.told, note.message_id, note.is_muted) == (
            world.feed.story(run_id),
            told,
            "m1",
            True,
        )
        assert read_note(run_id, world.list.kept.load().notes[run_id]) == note

    run(test)


def test_who_does_not_hold_the_list_changes_nothing() -> None:
    async def test() -> None:
        world = World()
        notebook = await opened(world)
        world.list.kept.let_go(HOLDER)
        with pytest.raises(AppError) as lost:
            await notebook.watch(new_ulid())
        assert lost.value.code is ErrorCode.LEASE_LOST
        assert notebook.notes == ()

    run(test)


def test_a_page_whose_keeping_was_not_answered_is_not_passed_over_by_a_later_change() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        notebook = await opened(world)
        world.feed.tell(queued(run_id))
        await notebook.read_on()

        def lose_the_answer(call: str) -> None:
            if call == "keep+":
                raise AppError(ErrorCode.STORE_UNAVAILABLE, "timeout")

        world.feed.tell(started(run_id))
        world.list.hook = lose_the_answer
        with pytest.raises(AppError, match="timeout"):
            await notebook.read_on()
        world.list.hook = nothing
        await notebook.unwatch(run_id)

        after_a_crash = await opened(world)
        await after_a_crash.read_on()
        assert after_a_crash.notes[0].story == world.feed.story(run_id)

    run(test)


def test_events_that_were_heard_already_are_passed_over() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        notebook = await opened(world)
        world.feed.tell(queued(run_id), started(run_id))
        await notebook.watch(run_id)
        kept = world.list.kept.load().notes
        world.feed.asked_of_run.clear()
        await notebook.read_on()
        assert world.feed.asked_of_run == []
        assert world.list.kept.load().notes == kept

    run(test)


def test_numbers_that_a_redis_with_lost_events_gives_out_again_are_heard_anew() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        notebook = await opened(world)
        world.feed.tell(queued(run_id), started(run_id), progress(run_id, 0.3), progress(run_id, 0.4))
        await notebook.read_on()
        world.feed.lose(run_id, keep=2)
        await asyncio.sleep(1)
        world.feed.tell(completed(run_id))
        await notebook.read_on()
        assert [note.story for note in notebook.notes] == [world.feed.story(run_id)]
        world.feed.asked_of_run.clear()
        world.feed.tell(queued(run_id))
        await notebook.read_on()
        assert world.feed.asked_of_run == []

    run(test)


def test_a_story_whose_numbers_others_have_by_now_is_heard_anew_behind_a_gap() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        notebook = await opened(world)
        world.feed.tell(queued(run_id), started(run_id), progress(run_id, 0.3))
        await notebook.read_on()
        world.feed.lose(run_id, keep=2)
        await asyncio.sleep(1)
        world.feed.tell(checkpoint(run_id, 5), progress(run_id, 0.1))
        world.feed.trim()
        await notebook.read_on()
        assert [note.story for note in notebook.notes] == [world.feed.story(run_id)]
        assert notebook.notes[0].story.checkpoint_step == 5

    run(test)


def test_a_note_that_could_not_be_read_has_its_story_again_when_the_notebook_opens() -> None:
    async def test() -> None:
        world, run_id = World(), new_ulid()
        world.feed.tell(queued(run_id), started(run_id))
        world.list.hold(HOLDER, seconds=1_000)
        world.list.keep(HOLDER, position="2-0", notes={run_id: "{}"})
        notebook = await opened(world)
        assert [note.story for note in notebook.notes] == [world.feed.story(run_id)]
        assert notebook.notes[0].has_news

    run(test)


def test_an_empty_list_of_another_redis_gets_all_notes_and_the_position_in_one_step() -> None:
    async def test() -> None:
        world, run_id, calls = World(), new_ulid(), list[str]()
        notebook = await opened(world)
        world.feed.tell(queued(run_id))
        await notebook.read_on()
        notebook.close()
        world.list.kept = type(world.list.kept)(clock=now)
        world.list.hold(HOLDER, seconds=1_000)
        world.list.hook = calls.append
        await notebook.open()
        assert calls == ["load", "keep", "keep+"]
        state = world.list.kept.load()
        assert (state.position, list(state.notes)) == ("1-0", [run_id])

    run(test)
