"""A service that takes questions, and whom they go to."""

import pytest
from starlette.testclient import TestClient

from model_trainer.core.contracts.inference import INFERENCE_QUEUE
from tests.unit.api.orders import training
from tests.unit.api.questions.asked import FILES
from tests.unit.api.service import Service
from tests.unit.api.toy_detector import detectors, trained


@pytest.fixture
def service() -> Service:
    """Detectors beside language models, and somebody who would answer (but does not, by itself)."""
    service = detectors(FILES)
    service.worker_alive(INFERENCE_QUEUE)
    return service


@pytest.fixture
def model(client: TestClient, service: Service) -> str:
    """A completed language model."""
    run_id = training(client, service)
    service.finished(run_id)
    return run_id


@pytest.fixture
def detector(client: TestClient, service: Service) -> str:
    """A completed detector."""
    return trained(client, service)
