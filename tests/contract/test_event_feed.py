"""What every feed promises: the events of all runs in one order, none of them lost without a word."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from model_trainer.core.contracts.feed import START, FeedPage
from model_trainer.core.contracts.run import Outcome, RunStatus, RunUpdate
from model_trainer.core.ports.feed import EventFeed
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.persistence.memory_feed import MemoryEventFeed
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_feed import FEED, FEED_LENGTH, RedisEventFeed
from tests.contract.run_stores import StoreUnderTest, checkpoint, memory_store, redis_store

LONG = 20.0
COMPLETED = Outcome(status=RunStatus.COMPLETED, message="Done.")
FILL = "for seq = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'run_id', 'nobody', 'seq', seq) end"


@dataclass
class FeedUnderTest:
    """A feed, the store whose events it has, and what else may happen to it."""

    feed: EventFeed
    store: StoreUnderTest
    trim: Callable[[int], object]
    fill: Callable[[int], object]

    def all(self, after: str = START, *, limit: int = 1000) -> FeedPage:
        """What there is behind a position."""
        return self.feed.read(after=after, limit=limit)


@pytest.fixture(params=["redis", "memory"])
def told(request: pytest.FixtureRequest) -> FeedUnderTest:
    if request.param == "redis":
        client: RedisClient = request.getfixturevalue("client")
        url: str = request.getfixturevalue("redis_url")
        return FeedUnderTest(
            feed=RedisEventFeed(client, url),
            store=redis_store(client),
            trim=lambda keep: client.call("XTRIM", FEED, "MAXLEN", keep),
            fill=lambda number: client.call("EVAL", FILL, 1, FEED, number),
        )
    store = memory_store()
    assert isinstance(store.runs, MemoryRunStore)
    order = store.runs.feed_order

    def fill(number: int) -> None:
        for seq in range(number):
            order.add("nobody", seq)

    return FeedUnderTest(
        feed=MemoryEventFeed(store.runs),
        store=store,
        trim=order.trim,
        fill=fill,
    )


def stories(page: FeedPage) -> list[tuple[str, int]]:
    """Whose event, and which."""
    return [(item.run_id, item.stored.seq) for item in page.items]


# ---------------------------------------------------------------- order and pages


def test_the_events_of_all_runs_come_in_the_order_in_which_they_were_told(told: FeedUnderTest) -> None:
    a, b = told.store.submit(), told.store.submit()
    lease = told.store.claim(b)
    told.store.runs.request_cancel(a)
    told.store.runs.heartbeat(lease, RunUpdate(), (checkpoint(b, 1), checkpoint(b, 2)))
    told.store.runs.finish(lease, COMPLETED, (checkpoint(b, 3),))
    page = told.all()
    assert stories(page) == [(a, 1), (b, 1), (b, 2), (a, 2), (b, 3), (b, 4), (b, 5)]
    assert (page.num_unknown, page.has_gap, page.has_more) == (0, False, False)


def test_the_events_are_those_of_the_runs_own_streams(told: FeedUnderTest) -> None:
    run_id = told.store.submit()
    told.store.claim(run_id)
    streamed = told.store.runs.events_after(run_id, after=0, limit=10)
    assert tuple(item.stored for item in told.all().items) == streamed
    assert told.feed.of_run(run_id, after=1, limit=10) == streamed[1:]
    assert told.feed.of_run(run_id, after=0, limit=1) == streamed[:1]
    assert told.feed.of_run("nobody", after=0, limit=10) == ()


def test_what_comes_behind_a_position_is_not_what_is_at_it(told: FeedUnderTest) -> None:
    a, b = told.store.submit(), told.store.submit()
    first, last = told.all().items
    behind = told.all(first.position)
    assert (stories(behind), behind.position) == ([(b, 1)], last.position)
    assert not behind.has_gap
    nothing = told.all(last.position)
    assert nothing == FeedPage(items=(), position=last.position, num_unknown=0, has_gap=False, has_more=False)
    told.store.claim(a)
    assert stories(told.all(last.position)) == [(a, 2)]


def test_pages_follow_one_another_without_a_hole(told: FeedUnderTest) -> None:
    ids = [told.store.submit() for _ in range(5)]
    pages = [told.all(limit=2)]
    while pages[-1].has_more:
        pages.append(told.all(pages[-1].position, limit=2))
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert [item.run_id for page in pages for item in page.items] == ids
    assert not any(page.has_gap for page in pages)


def test_a_page_that_is_just_full_has_no_more(told: FeedUnderTest) -> None:
    for _ in range(3):
        told.store.submit()
    first = told.all(limit=1)
    assert first.has_more
    assert not told.all(first.position, limit=2).has_more
    assert not told.all(limit=3).has_more


def test_the_end_is_where_only_what_is_to_come_is_heard(told: FeedUnderTest) -> None:
    assert told.feed.end() == START
    told.store.submit()
    end = told.feed.end()
    assert end == told.all().items[-1].position
    assert told.all(end).items == ()
    later = told.store.submit()
    assert stories(told.all(end)) == [(later, 1)]


def test_a_feed_that_was_never_told_anything_is_empty(told: FeedUnderTest) -> None:
    assert told.all() == FeedPage(items=(), position=START, num_unknown=0, has_gap=False, has_more=False)


# ---------------------------------------------------------------- what is not there


def test_a_forgotten_run_is_passed_over(told: FeedUnderTest) -> None:
    gone = told.store.submit()
    told.store.runs.request_cancel(gone)
    stays = told.store.submit()
    told.store.runs.forget(gone)
    page = told.all(limit=2)
    assert (page.items, page.num_unknown, page.has_gap, page.has_more) == ((), 0, False, True)
    assert stories(told.all(page.position)) == [(stays, 1)]


def test_a_reader_hears_that_what_it_did_not_read_was_trimmed_away(told: FeedUnderTest) -> None:
    ids = [told.store.submit() for _ in range(5)]
    positions = [item.position for item in told.all().items]
    told.trim(3)
    page = told.all(positions[0], limit=2)
    assert page.has_gap
    assert [item.run_id for item in page.items] == ids[2:4]
    rest = told.all(page.position)
    assert not rest.has_gap
    assert [item.run_id for item in rest.items] == ids[4:]
    assert not told.all(positions[2]).has_gap


def test_a_reader_behind_whom_everything_has_gone_begins_anew(told: FeedUnderTest) -> None:
    told.store.submit()
    position = told.feed.end()
    told.trim(0)
    page = told.all(position)
    assert page == FeedPage(items=(), position=START, num_unknown=0, has_gap=True, has_more=False)
    again = told.all(page.position)
    assert not again.has_gap
    later = told.store.submit()
    assert stories(told.all(again.position)) == [(later, 1)]


def test_a_full_feed_may_have_lost_its_beginning(told: FeedUnderTest) -> None:
    told.fill(FEED_LENGTH - 1)
    assert not told.all(limit=1).has_gap
    told.store.submit()
    page = told.all(limit=1)
    assert page.has_gap
    assert not told.all(page.position, limit=1).has_gap


def test_a_full_feed_lets_its_oldest_go(told: FeedUnderTest) -> None:
    told.fill(FEED_LENGTH)
    oldest = told.all(limit=1).position
    run_id = told.store.submit()
    many = tuple(checkpoint(run_id, step) for step in range(200))
    told.store.runs.heartbeat(told.store.claim(run_id), RunUpdate(), many)
    assert told.all(oldest, limit=1).has_gap
    assert not told.all(told.feed.end(), limit=1).has_gap


def test_after_the_store_was_lost_a_reader_hears_everything_that_is_told_then(told: FeedUnderTest) -> None:
    told.store.submit()
    position = told.feed.end()
    told.store.lose_everything()
    ids = [told.store.submit() for _ in range(2)]
    page = told.all(position)
    assert page.has_gap
    assert [item.run_id for item in page.items] == ids
    assert not told.all(page.position).has_gap


@pytest.mark.parametrize(
    "position",
    [
        pytest.param("999999999999999-0", id="of a clock that went faster"),
        pytest.param("1-7", id="of another feed"),
        pytest.param("", id="that is none"),
        pytest.param("9" * 30 + "-0", id="beyond all numbers"),
    ],
)
def test_a_position_from_elsewhere_makes_nobody_deaf(told: FeedUnderTest, position: str) -> None:
    ids = [told.store.submit() for _ in range(3)]
    page = told.all(position, limit=2)
    assert (page.has_gap, page.has_more) == (True, True)
    assert [item.run_id for item in page.items] == ids[:2]
    assert [item.run_id for item in told.all(page.position).items] == ids[2:]


def test_a_restored_run_is_not_told_again(told: FeedUnderTest) -> None:
    run_id = told.store.submit()
    told.store.runs.request_cancel(run_id)
    record, events = (
        told.store.runs.get(run_id),
        told.store.runs.events_after(run_id, after=0, limit=10),
    )
    told.store.lose_everything()
    told.store.runs.restore(record, events)
    assert told.all().items == ()
    assert told.feed.of_run(run_id, after=0, limit=10) == events


def test_a_restored_run_whose_beginning_was_lost_is_told_to_be_queued(told: FeedUnderTest) -> None:
    run_id = told.store.submit()
    record = told.store.runs.get(run_id)
    told.store.lose_everything()
    told.store.runs.restore(record, ())
    assert stories(told.all()) == [(run_id, 1)]


# ---------------------------------------------------------------- waking


def while_listening(told: FeedUnderTest, story: Callable[[], Awaitable[None]]) -> None:
    async def heard() -> None:
        # The first wait also sets the subscription up, and may end at once when it stands.
        await told.feed.wait(timeout_seconds=0.2)
        try:
            await story()
        finally:
            await told.feed.close()

    asyncio.run(heard())


def test_news_of_whichever_run_wake_a_reader(told: FeedUnderTest) -> None:
    async def story() -> None:
        for _ in range(2):
            waiting = asyncio.create_task(told.feed.wait(timeout_seconds=LONG))
            await asyncio.sleep(0.01)
            await asyncio.to_thread(told.store.submit)
            await asyncio.wait_for(waiting, LONG / 2)

    while_listening(told, story)


def test_without_news_a_reader_waits_for_its_timeout(told: FeedUnderTest) -> None:
    async def story() -> None:
        before = time.monotonic()
        await told.feed.wait(timeout_seconds=0.03)
        assert time.monotonic() - before >= 0.02

    while_listening(told, story)


def test_closing_wakes_a_reader(told: FeedUnderTest) -> None:
    async def story() -> None:
        waiting = asyncio.create_task(told.feed.wait(timeout_seconds=LONG))
        await asyncio.sleep(0.01)
        await told.feed.close()
        await asyncio.wait_for(waiting, LONG / 2)

    while_listening(told, story)
