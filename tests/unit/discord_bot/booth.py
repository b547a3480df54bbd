"""A bot on a loop of its own, before the stand-in for Discord, with commands that only remember what they were asked."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pydantic import SecretStr

from model_trainer.discord_bot.bot import Bot
from model_trainer.discord_bot.cards.card import Answer, Card, SafeText, Suggestion
from model_trainer.discord_bot.commands.commands import Commands
from model_trainer.discord_bot.commands.train_form import TrainForm
from model_trainer.discord_bot.gate import Gate
from model_trainer.discord_bot.line import Line
from tests.e2e.discord_standin import StandIn
from tests.e2e.discord_world import OWNER_ID


def card(title: str) -> Card:
    """A card with nothing but a title."""
    return Card(title=SafeText(title))


class Scripted(Commands):
    """Answers everything with one answer; what it was asked is kept."""

    def __init__(self) -> None:
        """Nobody has asked."""
        self.asked: list[object] = []
        self.answer = Answer(card("Answer"))
        self.breaks_with: Exception | None = None
        self.offers: tuple[Suggestion, ...] = ()

    async def train(self, form: TrainForm, *, idempotency_key: str) -> Answer:
        return self._answer(("train", form, idempotency_key))

    async def status(self, run_id: str) -> Answer:
        return self._answer(("status", run_id))

    async def cancel(self, run_id: str) -> Answer:
        return self._answer(("cancel", run_id))

    async def pause(self, run_id: str) -> Answer:
        return self._answer(("pause", run_id))

    async def resume(self, run_id: str) -> Answer:
        return self._answer(("resume", run_id))

    async def runs(self, page: int = 0) -> Answer:
        return self._answer(("runs", page))

    async def service(self) -> Answer:
        return self._answer(("service",))

    async def watch(self, run_id: str | None) -> Answer:
        return self._answer(("watch", run_id))

    async def unwatch(self, run_id: str) -> Answer:
        return self._answer(("unwatch", run_id))

    async def pressed(self, press: str) -> Answer:
        return self._answer(("pressed", press))

    async def suggest(self, option: str, typed: str, others: Mapping[str, str]) -> tuple[Suggestion, ...]:
        self.asked.append((option, typed, dict(others)))
        return self.offers

    async def hints(self) -> Mapping[str, SafeText]:
        return {"family": SafeText("What sort of model")}

    def _answer(self, asked: tuple[object, ...]) -> Answer:
        self.asked.append(asked)
        if self.breaks_with is not None:
            raise self.breaks_with
        return self.answer


@dataclass
class Running:
    """What runs on its loop until somebody ends it."""

    loop: asyncio.AbstractEventLoop
    errors: list[BaseException] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def running(work: Callable[[], Coroutine[object, object, None]]) -> Iterator[Running]:
    """Inside, `work` runs in a thread; afterwards it was cancelled, or had ended by itself."""
    loop = asyncio.new_event_loop()
    found = Running(loop)
    started = threading.Event()
    task: list[asyncio.Task[None]] = []

    async def until_cancelled() -> None:
        task.append(asyncio.create_task(work()))
        started.set()
        await asyncio.wait(task)
        if not task[0].cancelled() and (error := task[0].exception()) is not None:
            found.errors.append(error)
        found.ended.set()
        # discord.py's heartbeats come from threads, which may be about to ask the loop for one more.
        for beating in [one for one in threading.enumerate() if one.name.startswith("keep-alive-handler")]:
            await asyncio.to_thread(beating.join, 10)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(until_cancelled())

    thread = threading.Thread(target=run, name="bot")
    thread.start()
    started.wait(10)
    try:
        yield found
    finally:
        with suppress(RuntimeError):  # the loop has closed: it had ended by itself
            loop.call_soon_threadsafe(task[0].cancel)
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def listening(discord: StandIn, commands: Scripted, *, gate: Gate | None = None) -> Iterator[Line]:
    """Inside, a bot of the stand-in's owner is connected."""
    kept = gate or Gate(int(OWNER_ID))

    async def new_bot() -> Bot:
        return Bot(commands, kept, hints=await commands.hints())

    line = Line(SecretStr(discord.token), new_bot)
    with running(line.keep_up):
        discord.wait_until_connected()
        yield line
