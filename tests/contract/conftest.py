"""Each contract runs over every adapter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.infra.persistence.redis_client import RedisClient, connect
from tests.contract.artifact_stores import DatabankServer, S3Server, databank_service, s3_service
from tests.contract.artifact_trees import TREES, tree_of
from tests.contract.inference_stores import InferenceUnderTest, memory_inference, redis_inference
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


@pytest.fixture(params=["redis", "memory"])
def asked(request: pytest.FixtureRequest) -> Iterator[InferenceUnderTest]:
    """An empty store of requests to models."""
    if request.param == "memory":
        yield memory_inference()
        return
    client: RedisClient = request.getfixturevalue("client")
    in_redis = redis_inference(client)
    yield in_redis
    in_redis.close()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    """A service that speaks S3."""
    with s3_service() as server:
        yield server


@pytest.fixture(scope="module")
def databank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabankServer]:
    """A data bank."""
    with databank_service(tmp_path_factory.mktemp("databank")) as server:
        yield server


@pytest.fixture(params=TREES)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactTree:
    """An empty artifact tree."""
    return tree_of(request.param, tmp_path)
