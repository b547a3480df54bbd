"""The notes of all followed runs, in memory and in the watch list alike: brought forward by the feed, changed by telling."""

import asyncio
from collections.abc import Callable, Collection, Mapping

from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.feed import START, FeedPage
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.feed import EventFeed, WatchList
from model_trainer.discord_bot.cards.run_story import RunStory, hear
from model_trainer.discord_bot.notifications.notes import RunNote, outdated, read_note

NUM_EVENTS = 500
"""Of the feed or of a run, read at a time."""


class Notebook:
    """Memory never runs ahead of the list: what is changed is written down first. One change at a time.

    Everything raises what the feed and the list raise: STORE_UNAVAILABLE, and LEASE_LOST for who holds the list no more.
    """

    def __init__(self, feed: EventFeed, watch_list: WatchList, *, holder: str, owner_id: int) -> None:
        """Closed. `owner_id`: whose runs are followed unasked."""
        self._feed = feed
        self._list = watch_list
        self._holder = holder
        self._owner = str(owner_id)
        self._lock = asyncio.Lock()
        self._is_open = False
        self._notes: dict[str, RunNote] = {}
        self._position: str | None = None
        self._is_in_doubt = False
        self.news = asyncio.Event()
        """Set whenever a note has changed."""

    async def open(self) -> None:
        """Takes over what is written down. Who never read the feed begins at its end: history is not told. A list that has
        nothing any more, of a Redis that lost its data, gets all that is still known here."""
        async with self._lock:
            state = await asyncio.to_thread(self._list.load)
            was_lost = state.position is None and self._position is not None
            read = {run_id: read_note(run_id, text) for run_id, text in state.notes.items()}
            notes = {**self._notes, **read} if was_lost else read
            # The owner may be another one than before: those runs are none of theirs.
            foreign = {run_id for run_id, note in notes.items() if not self._concerns(note)}
            empty = [note for run_id, note in notes.items() if note.story.seq == 0 and run_id not in foreign]
            begun = await asyncio.to_thread(self._all_caught_up, empty)
            known = self._position if was_lost else state.position
            position = known or await asyncio.to_thread(self._feed.end)
            self._notes = notes
            await self._keep({**notes, **begun} if was_lost else begun, position=position, gone=foreign)
            self._is_open = True
            self.news.set()

    def close(self) -> None:
        """Somebody else may write now."""
        self._is_open = False

    @property
    def notes(self) -> tuple[RunNote, ...]:
        """All of them; none while it is closed."""
        return tuple(self._notes.values()) if self._is_open else ()

    async def read_on(self) -> bool:
        """Reads one page of the feed and writes down how far all stories have come; whether there is more to read."""
        page = await asyncio.to_thread(self._feed.read, after=self._position or START, limit=NUM_EVENTS)
        async with self._lock:
            self._is_in_doubt = self._is_in_doubt or page.has_gap
            changed = await asyncio.to_thread(self._brought_forward, page)
            if changed or page.position != self._position:
                await self._keep(changed, position=page.position)
            self._is_in_doubt = self._is_in_doubt and page.has_more
        return page.has_more

    async def change(self, run_id: str, change: Callable[[RunNote], RunNote]) -> None:
        """Changes a note as it stands by now; one that was let go meanwhile stays away."""
        async with self._lock:
            note = self._notes.get(run_id)
            if note is not None:
                await self._keep({run_id: change(note)})

    async def watch(self, run_id: str) -> None:
        """From here on the run is told, whoever ordered it. Raises SERVICE_UNAVAILABLE when the notebook is closed."""
        async with self._lock:
            self._check_open()
            note = self._notes.get(run_id) or RunNote(story=RunStory(run_id=run_id), may_be_sent=True)
            story = await asyncio.to_thread(self._caught_up, note.story)
            await self._keep({run_id: note.heard(story).watched()})

    async def unwatch(self, run_id: str) -> bool:
        """Lets a run be untold until it is watched by hand; whether it was told before. Raises as watch() does."""
        async with self._lock:
            self._check_open()
            note = self._notes.get(run_id)
            if note is None or note.is_muted:
                return False
            await self._keep({run_id: note.muted()})
            return True

    def watched(self) -> tuple[str, ...]:
        """Ids of the runs that are told and have not ended, newest first."""
        told = (note.run_id for note in self.notes if not note.is_muted and not note.has_ended)
        return tuple(sorted(told, reverse=True))

    async def _keep(
        self, changed: Mapping[str, RunNote], *, position: str | None = None, gone: Collection[str] = ()
    ) -> None:
        notes = {run_id: note for run_id, note in {**self._notes, **changed}.items() if run_id not in gone}
        gone = outdated(notes.values()).union(gone)
        texts = {run_id: note.model_dump_json() for run_id, note in changed.items() if run_id not in gone}
        # The position goes with every note: an earlier change may have been written although its answer was lost, and these
        # notes do not know what it read.
        position = position or self._position
        await asyncio.to_thread(self._list.keep, self._holder, position=position, notes=texts, gone=gone)
        self._notes = {run_id: note for run_id, note in notes.items() if run_id not in gone}
        self._position = position
        if changed:
            self.news.set()

    def _brought_forward(self, page: FeedPage) -> dict[str, RunNote]:
        """The notes that change with a page; asks the store where the page does not tell it all. Behind a gap all are written
        down again: it may be another store."""
        changed = self._all_caught_up(self.notes) if page.has_gap else {}
        for item in page.items:
            note = changed.get(item.run_id) or self._notes.get(item.run_id) or self._begun(item.stored)
            if note is not None and _is_new(item.stored, note.story):
                changed[item.run_id] = note.heard(self._heard(note.story, item.stored))
        return changed

    def _begun(self, stored: StoredEvent) -> RunNote | None:
        """The note of a run that has none, when it is the owner's. One that is met in its middle, or behind a gap, may have
        been told: its note was let go, or lost."""
        may_be_sent = stored.seq > 1 or self._is_in_doubt
        note = RunNote(story=RunStory(run_id=stored.event.job_id), may_be_sent=may_be_sent)
        return note if stored.event.user_id == self._owner else None

    def _heard(self, story: RunStory, stored: StoredEvent) -> RunStory:
        """The story up to an event, with what came before it."""
        if stored.seq == story.seq + 1:
            return hear(story, stored)
        return hear(
            self._caught_up(story if stored.seq > story.seq else RunStory(run_id=story.run_id)), stored
        )

    def _all_caught_up(self, notes: Collection[RunNote]) -> dict[str, RunNote]:
        """The notes with their stories as far as they have come."""
        return {note.run_id: note.heard(self._caught_up(note.story)) for note in notes}

    def _caught_up(self, story: RunStory) -> RunStory:
        """The story with all that its run's own stream has; told anew where its last event is another one there."""
        last = self._feed.of_run(story.run_id, after=story.seq - 1, limit=1) if story.seq else ()
        if any((stored.seq, stored.at_ms) != (story.seq, story.heard_at_ms) for stored in last):
            story = RunStory(run_id=story.run_id)
        while events := self._feed.of_run(story.run_id, after=story.seq, limit=NUM_EVENTS):
            for stored in events:
                story = hear(story, stored)
        return story

    def _concerns(self, note: RunNote) -> bool:
        return note.by_hand or note.story.user_id == self._owner

    def _check_open(self) -> None:
        if not self._is_open:
            message = "The bot follows no run yet: it is starting, or Redis is away. Try again in a minute."
            raise AppError(ErrorCode.SERVICE_UNAVAILABLE, message)


def _is_new(stored: StoredEvent, story: RunStory) -> bool:
    """Whether a story lacks an event. One of a number it had, but of a later time, is new: Redis lost what had that number,
    and counts on from what a rebuild or its last file brought back."""
    return stored.seq > story.seq or stored.at_ms > story.heard_at_ms
