"""The bot put together: it listens, it tells, it ends, and it asks Discord whose token it is."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from model_trainer.client.views import SeriesView
from model_trainer.container import in_memory
from model_trainer.core.config import load_settings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.feed import EventFeed
from model_trainer.discord_bot.cards.curves import loss_curve
from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.commands.asking import Asking
from model_trainer.discord_bot.identity import whose
from model_trainer.discord_bot.needs import Access
from model_trainer.discord_bot.serve import curve_of, serve_bot
from tests.contract.run_stores import new_run
from tests.e2e.discord_standin import StandIn, pointed_at
from tests.e2e.discord_world import OWNER_ID, PNG
from tests.unit.client.fake_api import RUN_ID, FakeApi, page, run_view
from tests.unit.discord_bot.booth import Running, running


@pytest.fixture
def discord() -> Iterator[StandIn]:
    with StandIn() as standin, pointed_at(standin):
        yield standin


class Feed:
    """A feed that knows whether it was closed."""

    def __init__(self, feed: EventFeed) -> None:
        self._feed = feed
        self.is_closed = False
        self.read, self.end, self.of_run, self.wait = feed.read, feed.end, feed.of_run, feed.wait

    async def close(self) -> None:
        await self._feed.close()
        self.is_closed = True


class Served:
    """serve_bot() over everything in memory."""

    def __init__(self, token: str, api: FakeApi) -> None:
        self.container = in_memory(load_settings(env_file=None))
        self.feed = Feed(self.container.feed)
        self.access = Access(token=SecretStr(token), owner_id=int(OWNER_ID))
        self.api = api
        self._stop: asyncio.Event | None = None
        self._running: Running | None = None

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        with self.api.client() as client:
            await serve_bot(
                self.access,
                feed=self.feed,
                watch_list=self.container.watch_list,
                client=client,
                stop=self._stop,
            )

    @contextmanager
    def running(self) -> Iterator[Running]:
        with running(self._serve) as found:
            self._running = found
            yield found

    def stop(self) -> None:
        assert self._stop is not None
        assert self._running is not None
        self._running.loop.call_soon_threadsafe(self._stop.set)
        assert self._running.ended.wait(30)

    def order(self) -> str:
        """A run of the owner's."""
        run = new_run(user_id=OWNER_ID)
        self.container.runs.submit(run, idempotency=None)
        return run.run_id


def test_it_tells_news_and_answers_commands_and_ends_when_it_is_told_to(discord: StandIn) -> None:
    served = Served(discord.token, FakeApi().on("GET", "/runs", page(run_view())).on("GET", "/families", {}))
    with served.running() as found:
        discord.wait_until_connected()
        answer = discord.ask("trainer runs")
        run_id = served.order()
        discord.wait(lambda: len(discord.messages) == 1, "the run's message")
        served.stop()

    assert RUN_ID in answer.now.text or RUN_ID[-6:] in answer.now.text
    assert discord.messages[0].now.mark == run_id
    assert found.errors == []
    assert not discord.gateway.is_connected
    assert served.feed.is_closed
    assert served.container.watch_list.hold("somebody else", seconds=1.0)
    assert served.container.watch_list.load().channel is not None


def test_a_wrong_token_ends_it_with_the_way_out_and_lets_go_of_the_list(discord: StandIn) -> None:
    served = Served("wrong", FakeApi().on("GET", "/families", {}))
    with served.running() as found:
        assert found.ended.wait(30)

    (error,) = found.errors
    assert isinstance(error, AppError)
    assert error.code is ErrorCode.UNAUTHORIZED
    assert served.container.watch_list.hold("somebody else", seconds=1.0)


def row(step: int, loss: float) -> dict[str, object]:
    return {"step": step, "metrics": {"loss": loss}, "timings": {}}


@pytest.mark.parametrize(("losses", "is_drawn"), [((3.0, 2.0, 1.0), True), ((3.0,), False)])
def test_a_curve_is_drawn_of_what_the_api_has(losses: tuple[float, ...], is_drawn: bool) -> None:
    story = RunStory(run_id=RUN_ID, family="gpt2")
    rows = [row(step, loss) for step, loss in enumerate(losses, start=1)]
    told: dict[str, object] = {"run_id": RUN_ID, "data": rows}
    api = FakeApi().on("GET", f"/runs/{RUN_ID}/metrics", told)

    with api.client() as client:
        asking = Asking(client)
        picture = asyncio.run(curve_of(asking, story))
        asking.close()

    assert (picture is not None) is is_drawn
    if picture is not None:
        assert picture.name == "loss.png"
        assert picture.png.startswith(PNG)
        series = SeriesView.model_validate(told)
        assert picture.png == loss_curve(series.data, family="gpt2", run_id=RUN_ID)


def test_discord_knows_the_bot_by_its_token(discord: StandIn) -> None:
    assert asyncio.run(whose(SecretStr(discord.token))) == "trainer"


def test_a_token_that_discord_does_not_know_is_told_so(discord: StandIn) -> None:
    with pytest.raises(AppError, match="Reset Token") as caught:
        asyncio.run(whose(SecretStr("wrong")))

    assert caught.value.code is ErrorCode.UNAUTHORIZED


@pytest.mark.parametrize("way", ["fail", "hang"])
def test_a_discord_that_does_not_answer_soon_cannot_be_reached(discord: StandIn, way: str) -> None:
    if way == "fail":
        discord.fail(503)
    else:
        discord.hang(path="/users/@me")

    with pytest.raises(AppError) as caught:
        asyncio.run(whose(SecretStr(discord.token), patience_seconds=0.2))

    assert caught.value.code is ErrorCode.SERVICE_UNAVAILABLE
