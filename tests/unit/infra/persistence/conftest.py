"""What the tests of this room share."""

from collections.abc import Iterator

import pytest

from model_trainer.infra.persistence.redis_client import RedisClient, connect
from tests.contract.run_stores import StoreUnderTest, redis_store


@pytest.fixture
def client(redis_url: str) -> Iterator[RedisClient]:
    """An empty Redis."""
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def store(client: RedisClient) -> StoreUnderTest:
    """An empty store in Redis."""
    return redis_store(client)
