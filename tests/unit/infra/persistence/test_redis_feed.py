"""The feed in Redis: references that anybody may damage, events of versions to come, and what the scripts refer to."""

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from model_trainer.core.contracts.feed import START, FeedPage
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.redis_client import Argument, Command, RedisClient, connect
from model_trainer.infra.persistence.redis_feed import FEED, RedisEventFeed
from model_trainer.infra.persistence.run_events import stream_entries
from tests.contract.run_stores import StoreUnderTest

NEXT_VERSION = '{"type":"trainer.job.paused.v2","job_id":"x","user_id":null,"mood":"calm"}'


@pytest.fixture
def feed(client: RedisClient, redis_url: str) -> RedisEventFeed:
    return RedisEventFeed(client, redis_url)


def tell_by_hand(client: RedisClient, run_id: str, *, event: str, kind: str) -> None:
    """As a later version of this service would."""
    client.call("HSET", f"runs:record:{run_id}", "last_event_seq", 2)
    client.call("XADD", f"runs:{run_id}:stream", "2-0", "at_ms", 1, "type", kind, "event", event)
    refer_by_hand(client, run_id=run_id, seq="2")


def refer_by_hand(client: RedisClient, **fields: str) -> None:
    client.call("XADD", FEED, "*", *(text for pair in fields.items() for text in pair))


def seqs(page: FeedPage) -> list[int]:
    return [item.stored.seq for item in page.items]


def test_an_entry_is_a_reference_and_no_more(store: StoreUnderTest, client: RedisClient) -> None:
    run_id = store.submit()
    entries = stream_entries.validate_python(client.call("XRANGE", FEED, "-", "+"))
    assert [fields for _, fields in entries] == [{"run_id": run_id, "seq": "1"}]


def test_an_event_of_a_version_to_come_is_left_out_counted_and_named_once(
    store: StoreUnderTest, client: RedisClient, feed: RedisEventFeed
) -> None:
    run_id = store.submit()
    tell_by_hand(client, run_id, event=NEXT_VERSION, kind="trainer.job.paused.v2")
    store.claim(run_id)
    with capture_logs() as lines:
        page, again = feed.read(after=START, limit=10), feed.read(after=START, limit=10)
    assert page == again
    assert seqs(page) == [1, 3]
    assert (page.num_unknown, page.has_gap) == (1, False)
    assert [(line["event"], line["detail"]) for line in lines] == [
        ("event_not_understood", "trainer.job.paused.v2")
    ]
    assert [stored.seq for stored in feed.of_run(run_id, after=0, limit=10)] == [1, 3]


def test_a_page_of_nothing_but_such_events_still_leads_on(
    store: StoreUnderTest, client: RedisClient, feed: RedisEventFeed
) -> None:
    run_id = store.submit()
    first = feed.end()
    tell_by_hand(client, run_id, event=NEXT_VERSION, kind="trainer.job.paused.v2")
    second = feed.end()
    store.claim(run_id)
    page = feed.read(after=first, limit=1)
    assert (page.items, page.num_unknown, page.position, page.has_more) == ((), 1, second, True)
    assert seqs(feed.read(after=page.position, limit=1)) == [3]


CANCELLED = '{"type":"trainer.job.cancelled.v1","job_id":"x","user_id":null,"step":1}'


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "no JSON", "at_ms": "1"},
        {"event": CANCELLED.replace(',"step":1', ""), "at_ms": "1"},
        {"event": CANCELLED, "at_ms": "soon"},
        {"event": CANCELLED},
        {"at_ms": "1"},
    ],
)
def test_what_is_no_event_is_left_out_too(
    store: StoreUnderTest, client: RedisClient, feed: RedisEventFeed, fields: dict[str, str]
) -> None:
    run_id = store.submit()
    client.call("XADD", f"runs:{run_id}:stream", "2-0", *(text for pair in fields.items() for text in pair))
    refer_by_hand(client, run_id=run_id, seq="2")
    page = feed.read(after=START, limit=10)
    assert (seqs(page), page.num_unknown) == ([1], 1)
    assert [stored.seq for stored in feed.of_run(run_id, after=0, limit=10)] == [1]


@pytest.mark.parametrize(
    "fields",
    [
        {"colour": "blue"},
        {"run_id": "x"},
        {"run_id": "x", "seq": "first"},
        {"run_id": "x", "seq": "0"},
        {"run_id": "x", "seq": "9" * 30},
    ],
)
def test_what_is_no_reference_is_left_out_counted_and_named_once(
    store: StoreUnderTest, client: RedisClient, feed: RedisEventFeed, fields: dict[str, str]
) -> None:
    refer_by_hand(client, **fields)
    refer_by_hand(client, **fields)
    store.submit()
    with capture_logs() as lines:
        page = feed.read(after=START, limit=10)
    assert (seqs(page), page.num_unknown) == ([1], 2)
    assert [line["detail"] for line in lines] == ["a reference"]


def test_a_type_that_is_a_whole_story_is_not_told_in_the_log(
    store: StoreUnderTest, client: RedisClient, feed: RedisEventFeed
) -> None:
    tell_by_hand(client, store.submit(), event=NEXT_VERSION, kind="x" * 500)
    with capture_logs() as lines:
        feed.read(after=START, limit=10)
    assert [line["detail"] for line in lines] == ["x" * 80]


def test_a_page_is_read_in_two_round_trips_however_long_it_is(
    store: StoreUnderTest, client: RedisClient, feed: RedisEventFeed
) -> None:
    for _ in range(50):
        store.submit()
    first = feed.read(after=START, limit=1)
    asked: list[str] = []

    class Counting(RedisClient):
        def call(self, *command: Argument) -> object:
            asked.append("call")
            return super().call(*command)

        def many(self, commands: Sequence[Command]) -> list[object]:
            asked.append("many")
            return super().many(commands)

    page = RedisEventFeed(Counting(client.connection), "redis://unused").read(after=first.position, limit=100)
    assert len(page.items) == 49
    assert asked == ["call", "many"]


def test_without_a_server_reading_says_so() -> None:
    feed = RedisEventFeed(connect("unix:///nowhere/redis.sock"), "unix:///nowhere/redis.sock")
    for ask in (feed.end, lambda: feed.read(after=START, limit=1), lambda: feed.read(after="1-0", limit=1)):
        with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.STORE_UNAVAILABLE):
            ask()
