"""Both sides of a notifier: a feed that tests write, a list that may be away, and a channel that remembers and may refuse."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from model_trainer.core.contracts.events import (
    CheckpointSaved,
    Event,
    JobCompleted,
    JobFailed,
    JobProgress,
    JobQueued,
    JobStarted,
    StoredEvent,
)
from model_trainer.core.contracts.feed import START, FeedItem, FeedPage, WatchState
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import Phase, Progress
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from model_trainer.discord_bot.cards.card import Card, Picture
from model_trainer.discord_bot.cards.run_card import run_card
from model_trainer.discord_bot.cards.run_story import RunStory, hear
from model_trainer.discord_bot.notifications.messenger import MessageGone
from model_trainer.discord_bot.notifications.notifier import Notifier
from model_trainer.discord_bot.notifications.teller import Curve
from model_trainer.infra.persistence.memory_watch_list import MemoryWatchList
from tests.unit.discord_bot.virtual_time import now

OWNER = 4711
NONCE_SECONDS = 300.0
"""How long Discord remembers a nonce."""
CURVE = Picture("loss.png", b"png")

Hook = Callable[[str], None]
"""Told of each call and, with a + behind its name, of its end; may raise."""


def nothing(_: str) -> None:
    """Nothing fails."""


def queued(run_id: str, *, user_id: str | None = str(OWNER), kind: str = "train") -> Event:
    return JobQueued(job_id=run_id, user_id=user_id, kind=kind, family="gpt2", queue="training")


def started(run_id: str, *, user_id: str | None = str(OWNER), attempt: int = 1) -> Event:
    return JobStarted(job_id=run_id, user_id=user_id, epoch=1, attempt=attempt, worker="w")


def progress(run_id: str, fraction: float, *, user_id: str | None = str(OWNER)) -> Event:
    return JobProgress(
        job_id=run_id,
        user_id=user_id,
        phase=Phase.TRAINING,
        message="",
        progress=Progress(step=round(fraction * 10_000), total_steps=10_000, fraction=fraction),
    )


def checkpoint(run_id: str, step: int, *, user_id: str | None = str(OWNER)) -> Event:
    return CheckpointSaved(job_id=run_id, user_id=user_id, step=step, path="p", num_bytes=1, metrics={})


def completed(run_id: str, *, user_id: str | None = str(OWNER)) -> Event:
    return JobCompleted(job_id=run_id, user_id=user_id, message="", metrics={"loss": 1.5})


def failed(run_id: str, *, user_id: str | None = str(OWNER)) -> Event:
    return JobFailed(
        job_id=run_id,
        user_id=user_id,
        error_code=ErrorCode.WORKER_LOST,
        message="",
        reason=Reason.WORKER_LOST,
        failure_class=FailureClass.TRANSIENT,
    )


class Feed:
    """A position is the number of entries before it."""

    def __init__(self) -> None:
        self.streams: dict[str, list[StoredEvent | None]] = {}
        self.hook: Hook = nothing
        self.swallowed = 0
        """How many cancellations get lost, as in wait_for() of Python 3.11."""
        self.asked_of_run: list[tuple[str, int]] = []
        self._entries: list[tuple[str, int]] = []
        self._trimmed = 0
        self._news = asyncio.Event()

    def tell(self, *events: Event) -> None:
        """Events as they happen."""
        for event in events:
            self._append(event.job_id, event)

    def tell_unknown(self, run_id: str) -> None:
        """An event of a version that nobody here knows."""
        self._append(run_id, None)

    def lose(self, run_id: str, *, keep: int) -> None:
        """What Redis had not yet saved of a run: numbers go on behind what it has."""
        del self.streams[run_id][keep:]

    def trim(self) -> None:
        """All that was told so far is in the runs' own streams alone."""
        self._trimmed = len(self._entries)

    def story(self, run_id: str) -> RunStory:
        """Of all that happened to a run."""
        story = RunStory(run_id=run_id)
        for stored in self.of_run(run_id, after=0, limit=1_000_000):
            story = hear(story, stored)
        return story

    def read(self, *, after: str, limit: int) -> FeedPage:
        self.hook("read")
        first = int(after.partition("-")[0])
        begin = max(first, self._trimmed)
        entries = self._entries[begin : begin + limit]
        items: list[FeedItem] = []
        for place, (run_id, seq) in enumerate(entries, begin + 1):
            stored = self.streams[run_id][seq - 1]
            if stored is not None:
                items.append(FeedItem(position=f"{place}-0", stored=stored))
        page = FeedPage(
            items=tuple(items),
            position=f"{begin + len(entries)}-0",
            num_unknown=len(entries) - len(items),
            has_gap=first < self._trimmed,
            has_more=begin + len(entries) < len(self._entries),
        )
        self.hook("read+")
        return page

    def end(self) -> str:
        self.hook("end")
        return f"{len(self._entries)}-0" if self._entries else START

    def of_run(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
        self.asked_of_run.append((run_id, after))
        known = [
            stored for stored in self.streams.get(run_id, ()) if stored is not None and stored.seq > after
        ]
        return tuple(known[:limit])

    async def wait(self, *, timeout_seconds: float) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._news.wait()
        except TimeoutError:
            return
        except asyncio.CancelledError:
            if self.swallowed == 0:
                raise
            self.swallowed -= 1

    async def close(self) -> None:
        raise NotImplementedError

    def _append(self, run_id: str, event: Event | None) -> None:
        stream = self.streams.setdefault(run_id, [])
        seq = len(stream) + 1
        stream.append(None if event is None else StoredEvent(seq=seq, at_ms=round(1000 * now()), event=event))
        self._entries.append((run_id, seq))
        self._news.set()


class List:
    """A watch list that may be away."""

    def __init__(self) -> None:
        self.kept = MemoryWatchList(clock=now)
        self.hook: Hook = nothing

    def hold(self, holder: str, *, seconds: float) -> bool:
        self.hook("hold")
        return self.kept.hold(holder, seconds=seconds)

    def let_go(self, holder: str) -> None:
        self.hook("let_go")
        self.kept.let_go(holder)

    def load(self) -> WatchState:
        self.hook("load")
        return self.kept.load()

    def keep(
        self,
        holder: str,
        *,
        position: str | None = None,
        channel: str | None = None,
        notes: Mapping[str, str] | None = None,
        gone: Collection[str] = (),
    ) -> None:
        self.hook("keep")
        self.kept.keep(holder, position=position, channel=channel, notes=notes, gone=gone)
        self.hook("keep+")


@dataclass(frozen=True, slots=True)
class Message:
    """As it stands in the channel now."""

    card: Card
    nonce: str
    sent_at: float
    is_deleted: bool = False


@dataclass(slots=True)
class Call:
    """One request to Discord."""

    name: str
    mark: str
    at: float


@dataclass(slots=True)
class Channel:
    """The owner's, as Discord keeps it: a nonce of the last minutes makes no second message."""

    hook: Hook = nothing
    messages: dict[str, Message] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    async def send(self, card: Card, *, nonce: str) -> str:
        assert 0 < len(nonce) <= 25
        await self._begin("send", card.mark)
        for message_id, message in self.messages.items():
            if message.nonce == nonce and now() - message.sent_at < NONCE_SECONDS:
                return message_id
        message_id = f"m{len(self.messages)}"
        self.messages[message_id] = Message(card, nonce, now())
        self.hook("send+")
        return message_id

    async def edit(self, message_id: str, card: Card) -> None:
        await self._begin("edit", card.mark)
        if self.messages[message_id].is_deleted:
            raise MessageGone
        self.messages[message_id] = replace(self.messages[message_id], card=card)
        self.hook("edit+")

    async def find(self, mark: str) -> str | None:
        await self._begin("find", mark)
        found = [key for key, each in self.messages.items() if each.card.mark == mark and not each.is_deleted]
        self.hook("find+")
        return found[-1] if found else None

    def delete(self, mark: str) -> None:
        """What somebody does to a run's message."""
        for message_id, message in self.messages.items():
            if message.card.mark == mark:
                self.messages[message_id] = replace(message, is_deleted=True)

    def of_run(self, run_id: str) -> list[Card]:
        """The cards of its messages."""
        return [
            each.card for each in self.messages.values() if each.card.mark == run_id and not each.is_deleted
        ]

    def names_of(self, run_id: str) -> list[str]:
        """What was asked of Discord for a run."""
        return [call.name for call in self.calls if call.mark == run_id]

    async def _begin(self, name: str, mark: str) -> None:
        await asyncio.sleep(0.1)  # it takes its time
        self.calls.append(Call(name, mark, now()))
        self.hook(name)


class World:
    """All that outlives a bot. To be made inside a running loop."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.list = List()
        self.channel = Channel()
        self.picture: Picture | None = CURVE
        self.curves: list[str] = []
        self.hook_of_curve: Hook = nothing
        self.curve_seconds = 0.0
        """How long drawing takes."""

    async def curve(self, story: RunStory) -> Picture | None:
        """The picture of a training."""
        self.curves.append(story.run_id)
        self.hook_of_curve(story.run_id)
        await asyncio.sleep(self.curve_seconds)
        return self.picture

    def notifier(
        self, *, owner_id: int = OWNER, holder: str | None = None, curve: Curve | None = None
    ) -> Notifier:
        """A bot's, not running."""
        return Notifier(
            self.feed,
            self.list,
            self.channel,
            curve or self.curve,
            holder=holder or new_ulid(),
            owner_id=owner_id,
            clock=lambda: round(1000 * now()),
        )

    @asynccontextmanager
    async def bot(self, *, owner_id: int = OWNER, holder: str | None = None) -> AsyncIterator[Notifier]:
        """A bot that runs inside of the with-block and is stopped at its end."""
        notifier = self.notifier(owner_id=owner_id, holder=holder)
        stop = asyncio.Event()
        running = asyncio.create_task(notifier.run(stop))
        try:
            await asyncio.sleep(1)
            yield notifier
        finally:
            stop.set()
            await running

    def card(self, run_id: str) -> Card:
        """What a run's message shows when all of it is told."""
        return run_card(self.feed.story(run_id))

    def assert_told(self, run_id: str, *, picture: Picture | None = None) -> None:
        """It has one message, which shows its whole story."""
        assert self.channel.of_run(run_id) == [run_card(self.feed.story(run_id), picture=picture)]
