"""Each contract runs over every adapter."""

from collections.abc import Iterator

import pytest

from model_trainer.infra.persistence.redis_client import RedisClient, connect
from tests.contract.run_stores import StoreUnderTest, memory_store, redis_store


@pytest.fixture
def client(redis_url: str) -> Iterator[RedisClient]:
    """An empty Redis."""
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture(params=["redis", "memory"])
def store(request: pytest.FixtureRequest) -> StoreUnderTest:
    """An empty store."""
    if request.param == "memory":
        return memory_store()
    client: RedisClient = request.getfixturevalue("client")
    return redis_store(client)
