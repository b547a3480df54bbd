"""A service in memory and clients for it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from starlette.testclient import TestClient

from model_trainer.api.main import create_app
from tests.unit.api.service import Service

Connect = Callable[[Service], TestClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Clients for any number of services; a server's fault is an answer here, not an exception."""
    with ExitStack() as stack:

        def to(service: Service) -> TestClient:
            client = TestClient(create_app(service.container), raise_server_exceptions=False)
            return stack.enter_context(client)

        yield to


@pytest.fixture
def service() -> Service:
    """A service without a key and without workers."""
    return Service()


@pytest.fixture
def client(service: Service, connect: Connect) -> TestClient:
    """Talks to the service."""
    return connect(service)
