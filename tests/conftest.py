"""What many rooms' tests need: a Redis of this test process' own. No Redis, no green suite: it fails, it never skips."""

from collections.abc import Iterator

import pytest
from redis import Redis

from model_trainer.infra.stack.embedded_redis import EmbeddedRedis


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """One server for each xdist worker. Durability has tests of its own, so this one stays off the disk."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), overrides={"appendonly": "no"}) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The address of an empty Redis."""
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread for tensors: tiny ones are fastest so, and results are bitwise repeatable on any machine."""
    import torch  # most rooms do without it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
