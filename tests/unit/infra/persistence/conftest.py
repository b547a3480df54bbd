"""What the tests of this room share."""

from collections.abc import Iterator

import pytest

from model_trainer.infra.persistence.redis_client import RedisClient, connect
from tests.contract.run_stores import StoreUnderTest, redis_store
from tests.unit.infra.persistence.forgetful import ForgetfulRedis


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


@pytest.fixture
def forgetful(redis_url: str) -> Iterator[ForgetfulRedis]:
    """A connection that loses replies when it is told to."""
    connection = ForgetfulRedis.from_url(redis_url, decode_responses=True, protocol=2)
    assert isinstance(connection, ForgetfulRedis)
    connection.losses, connection.refusals = [], []
    yield connection
    connection.close()
