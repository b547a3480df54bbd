import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.redis_client import RedisClient, Script, connect
from model_trainer.infra.persistence.redis_errors import translated_errors


@contextmanager
def silent_server() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        yield port


def test_commands_go_out_and_plain_values_come_back(client: RedisClient) -> None:
    client.call("SET", "a", "ü")
    assert client.call("GET", "a") == "ü"
    assert client.many([("INCR", "n"), ("INCR", "n"), ("GET", "b")]) == [1, 2, None]


def test_a_script_unknown_to_the_server_is_sent_whole(client: RedisClient) -> None:
    client.call("SCRIPT", "FLUSH")
    for _ in range(2):
        assert client.run(Script("flags"), key="runs:record:x", arguments=["x", 1, "a"]) == ["unknown"]


def test_a_transaction_does_all_or_nothing(client: RedisClient) -> None:
    with client.transaction() as transaction:
        transaction.watch("a")
        assert transaction.call("GET", "a") is None
        transaction.begin()
        transaction.call("SET", "a", 1)
        assert client.call("GET", "a") is None
        assert transaction.commit()
    assert client.call("GET", "a") == "1"


def test_a_transaction_is_void_when_a_watched_key_changed(client: RedisClient) -> None:
    with client.transaction() as transaction:
        transaction.watch("a")
        client.call("SET", "a", "other")
        transaction.begin()
        transaction.call("SET", "a", "mine")
        assert not transaction.commit()
    assert client.call("GET", "a") == "other"


def test_a_server_that_is_not_there_is_unavailable_and_no_password_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    client = connect(f"redis://user:geheim@127.0.0.1:{port}/0")
    with pytest.raises(AppError) as caught:
        client.call("PING")
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert "geheim" not in f"{caught.value.message} {caught.value.facts} {caught.value.__cause__}"


def test_a_server_that_hangs_costs_no_more_than_the_timeout() -> None:
    with silent_server() as port:
        client = connect(f"redis://127.0.0.1:{port}", timeout_seconds=0.05)
        with pytest.raises(AppError) as caught:
            client.run(Script("flags"), key="k", arguments=["x", 1, "a"])
        client.close()
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert isinstance(caught.value.__cause__, redis.TimeoutError)


@pytest.mark.parametrize("url", ["http://user:geheim@host/0", "host:6379", "redis://u:geheim@host:port/0"])
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(AppError) as caught:
        connect(url)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert "geheim" not in f"{caught.value} {caught.value.facts} {caught.value.__cause__}"


@pytest.mark.parametrize(
    ("url", "connection_class"),
    [
        ("redis://host:6379/0", redis.Connection),
        ("rediss://host:6380/0", redis.SSLConnection),
        ("unix:///run/redis.sock?db=0", redis.UnixDomainSocketConnection),
    ],
)
def test_each_kind_of_address_has_its_kind_of_connection(url: str, connection_class: type[object]) -> None:
    assert connect(url).connection.connection_pool.connection_class is connection_class


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("refused"),
        redis.TimeoutError("slow"),
        redis.exceptions.BusyLoadingError("loading"),
        redis.AuthenticationError("no"),
        redis.ReadOnlyError("replica"),
        redis.OutOfMemoryError("full"),
        redis.exceptions.NoPermissionError("acl"),
        redis.ResponseError("MISCONF cannot write"),
        redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'"),
        redis.exceptions.MasterDownError("link is down"),
        redis.ResponseError("NOREPLICAS Not enough good replicas to write."),
        redis.ResponseError("Command # 2 (HSET a b c) of pipeline caused error: MISCONF cannot write"),
        redis.ResponseError("Error running script (call to f_1): @user_script:12: -MISCONF cannot write"),
        redis.ResponseError("Error running script (call to f_1): @user_script: 1: READONLY replica"),
    ],
)
def test_what_may_pass_is_unavailable(error: Exception) -> None:
    with pytest.raises(AppError) as caught, translated_errors():
        raise error
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        redis.ResponseError("wrong number of arguments"),
        redis.ResponseError("Command # 1 (SET a MISCONF) of pipeline caused error: syntax error"),
        redis.ResponseError("Error running script (call to f_1): @user_script:12: no such MISCONF"),
    ],
)
def test_words_of_callers_do_not_make_an_error_pass(error: Exception) -> None:
    with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.INTERNAL), translated_errors():
        raise error


def test_a_replica_refuses_writes_and_recovers(client: RedisClient) -> None:
    new: list[str | int] = ["x", "", 1, "", 0, "kind", "train"]
    writes: list[Callable[[], object]] = [
        lambda: client.call("SET", "a", "b"),
        lambda: client.run(Script("submit"), key="runs:record:x", arguments=new),
        lambda: in_transaction(client, "SET", "a", "b"),
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    client.call("REPLICAOF", "127.0.0.1", port)
    try:
        for write in writes:
            with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.STORE_UNAVAILABLE):
                write()
    finally:
        client.call("REPLICAOF", "NO", "ONE")
    client.call("SET", "a", "b")


def in_transaction(client: RedisClient, *command: str) -> None:
    with client.transaction() as transaction:
        transaction.begin()
        transaction.call(*command)
        transaction.commit()


def test_a_server_without_room_for_one_more_client_is_unavailable(
    redis_url: str, client: RedisClient
) -> None:
    client.call("PING")
    client.call("CONFIG", "SET", "maxclients", 1)
    other = connect(redis_url)
    try:
        with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.STORE_UNAVAILABLE):
            other.call("PING")
    finally:
        client.call("CONFIG", "SET", "maxclients", 1000)
        other.close()


def test_a_server_that_asks_for_a_password_is_unavailable(redis_url: str, client: RedisClient) -> None:
    client.call("CONFIG", "SET", "requirepass", "x")
    other = connect(redis_url)
    try:
        with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.STORE_UNAVAILABLE):
            other.call("PING")
    finally:
        client.call("CONFIG", "SET", "requirepass", "")
        other.close()


def test_what_will_not_pass_is_our_own_fault(client: RedisClient) -> None:
    with pytest.raises(AppError) as caught:
        client.call("NOSUCHCOMMAND")
    assert caught.value.code is ErrorCode.INTERNAL


def test_a_full_server_refuses_and_recovers(client: RedisClient) -> None:
    client.call("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(AppError) as caught:
            client.call("SET", "a", "b")
    finally:
        client.call("CONFIG", "SET", "maxmemory", "0")
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    client.call("SET", "a", "b")


def test_a_client_may_be_shared_between_threads(client: RedisClient) -> None:
    threads = [threading.Thread(target=client.call, args=("INCR", "n")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.call("GET", "n") == "8"
