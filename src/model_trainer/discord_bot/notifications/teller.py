"""Tells the stories of followed runs: one message a run, edited in place, as often as the channel bears."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from model_trainer.core.contracts.run import RunKind
from model_trainer.core.logging import get_logger
from model_trainer.discord_bot.cards.card import Card, Picture
from model_trainer.discord_bot.cards.run_card import run_card
from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.notifications.limiter import Limiter, Turn, Waiting
from model_trainer.discord_bot.notifications.messenger import (
    CannotDeliver,
    MessageGone,
    MessageRefused,
    Messenger,
)
from model_trainer.discord_bot.notifications.notebook import Notebook
from model_trainer.discord_bot.notifications.notes import RunNote
from model_trainer.discord_bot.notifications.outage import Outage
from model_trainer.discord_bot.notifications.pace import seconds_until_due

log = get_logger(__name__)

Curve = Callable[[RunStory], Awaitable[Picture | None]]
"""The loss of a training; None when there is nothing to draw."""

NUM_CURVE_TRIES = 3
CURVE_SECONDS = 20.0
"""After which a try has failed."""
CURVE_PAUSE_SECONDS = 3.0
"""Between the tries; others are told meanwhile."""
REFUSED_SECONDS = 300.0
"""Until a message is tried again that Discord takes from nobody."""


class Teller:
    """What it does is in the notes before and after, so that it may end between any two lines and begin again."""

    def __init__(
        self,
        notebook: Notebook,
        messenger: Messenger,
        curve: Curve,
        *,
        store: Outage,
        clock: Callable[[], int],
    ) -> None:
        """`clock`: milliseconds since 1970."""
        self._notebook = notebook
        self._messenger = messenger
        self._curve = curve
        self._store = store
        self._clock = clock
        self._limiter = Limiter()
        self._discord = Outage("discord")
        self._curve_tries: dict[str, int] = {}

    async def tell(self) -> None:
        """Tells what is due, as long as it is left running. Raises LEASE_LOST for who holds the list no more."""
        while True:
            self._notebook.news.clear()
            turn = self._next_turn()
            if turn is None or turn.in_seconds > 0:
                # News may bring somebody whose turn comes before.
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if turn is None else turn.in_seconds):
                        await self._notebook.news.wait()
            else:
                await self._tell(turn.run_id)

    def _next_turn(self) -> Turn | None:
        due = ((note, seconds_until_due(note, now_ms=self._clock())) for note in self._notebook.notes)
        waiting = [
            Waiting(note.run_id, has_ended=note.has_ended, due_in_seconds=seconds)
            for note, seconds in due
            if seconds is not None
        ]
        return self._limiter.next_turn(waiting, now=_now())

    async def _tell(self, run_id: str) -> None:
        note = next(note for note in self._notebook.notes if note.run_id == run_id)
        self._limiter.had_turn(run_id, _now())
        is_drawn, picture = await self._picture(note.story)
        is_current = any(each is note for each in self._notebook.notes)
        if not is_drawn or not is_current:
            return  # if it changed meanwhile, there is more to tell by now, or nobody wants to hear of it
        lacks_curve = self._curve_tries.pop(run_id, 0) == NUM_CURVE_TRIES
        try:
            message_id = await self._shown(note, run_card(note.story, picture=picture))
        except MessageGone:
            await self._change(run_id, RunNote.after_deletion)
        except MessageRefused as error:
            log.warning("discord_message_refused", run_id=run_id, detail=str(error))
            self._limiter.postpone(run_id, _now() + REFUSED_SECONDS)
        except CannotDeliver as error:
            self._limiter.refused(run_id)
            pause_seconds = self._discord.failed(error.why, at_least_seconds=error.retry_after_seconds or 0.0)
            await asyncio.sleep(pause_seconds)
        else:
            self._limiter.taken(run_id)
            self._discord.over()
            await self._change(run_id, self._told(note.story, message_id, lacks_curve=lacks_curve))

    async def _shown(self, note: RunNote, card: Card) -> str:
        """Shows a card in the run's message; the message's id."""
        message_id = note.message_id
        if message_id is None and note.may_be_sent:
            await self._wait_until_free()
            message_id = await self._messenger.find(note.run_id)
        if message_id is None:
            await self._change(note.run_id, RunNote.about_to_send)
            await self._wait_until_free()
            return await self._messenger.send(card, nonce=note.nonce)
        await self._wait_until_free()
        await self._messenger.edit(message_id, card)
        return message_id

    def _told(self, story: RunStory, message_id: str, *, lacks_curve: bool) -> Callable[[RunNote], RunNote]:
        at_ms = self._clock()
        return lambda note: note.after_telling(
            story, message_id=message_id, at_ms=at_ms, lacks_curve=lacks_curve
        )

    async def _picture(self, story: RunStory) -> tuple[bool, Picture | None]:
        """What belongs to the end of a training, and whether that is known: it is asked for a few times, then the end is
        told without, and the picture tried again later."""
        if not story.status.is_terminal or story.kind != RunKind.TRAIN:
            return True, None
        tries = self._curve_tries.get(story.run_id, 0)
        if tries == NUM_CURVE_TRIES:
            return True, None
        drawing = asyncio.ensure_future(self._curve(story))
        try:
            # Whatever fails in there, a picture is not worth the end's own news.
            await asyncio.wait({drawing}, timeout=CURVE_SECONDS)
        finally:
            drawing.cancel()
        error = drawing.exception() if drawing.done() else TimeoutError()
        if error is None:
            return True, drawing.result()
        log.warning("discord_curve_failed", run_id=story.run_id, detail=type(error).__name__)
        self._curve_tries[story.run_id] = tries + 1
        self._limiter.postpone(story.run_id, _now() + CURVE_PAUSE_SECONDS)
        return False, None

    async def _wait_until_free(self) -> None:
        await asyncio.sleep(self._limiter.seconds_until_free(_now()))
        self._limiter.called(_now())

    async def _change(self, run_id: str, change: Callable[[RunNote], RunNote]) -> None:
        await self._store.bear(lambda: self._notebook.change(run_id, change))


def _now() -> float:
    return asyncio.get_running_loop().time()
