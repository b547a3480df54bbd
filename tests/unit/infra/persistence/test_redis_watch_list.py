"""The watch list's keys, which docs/run-record.md names, and its hold as Redis keeps it."""

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.redis_client import RedisClient, connect, number
from model_trainer.infra.persistence.redis_watch_list import RedisWatchList


def test_what_is_written_down_lies_under_the_documented_keys(client: RedisClient) -> None:
    watch_list = RedisWatchList(client)
    watch_list.hold("us", seconds=60)
    watch_list.keep("us", position="5-0", channel="77", notes={"run-1": "one"})
    strings = [("GET", f"discord:{name}") for name in ("position", "channel", "holder")]
    assert client.many(strings) == ["5-0", "77", "us"]
    assert client.call("HGETALL", "discord:watching") == {"run-1": "one"}
    assert client.call("DBSIZE") == 4


def test_a_hold_lasts_as_long_as_was_asked_for_and_no_other_key_runs_out(client: RedisClient) -> None:
    watch_list = RedisWatchList(client)
    watch_list.hold("us", seconds=60)
    watch_list.keep("us", position="5-0", channel="77", notes={"run-1": "one"})
    assert 50_000 < number.validate_python(client.call("PTTL", "discord:holder")) <= 60_000
    lasting = [("PTTL", f"discord:{name}") for name in ("position", "channel", "watching")]
    assert client.many(lasting) == [-1, -1, -1]


def test_a_hold_for_no_time_at_all_is_no_fault(client: RedisClient) -> None:
    assert RedisWatchList(client).hold("us", seconds=0.0)


def test_without_a_server_it_says_so() -> None:
    watch_list = RedisWatchList(connect("unix:///nowhere/redis.sock"))
    for ask in (watch_list.load, lambda: watch_list.hold("us", seconds=1), lambda: watch_list.keep("us")):
        with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.STORE_UNAVAILABLE):
            ask()
