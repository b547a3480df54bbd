import pytest

from tests.unit.worker.inference.shop import Shop


@pytest.fixture(scope="session")
def shop() -> Shop:
    """Trained models, once for all tests that only ask them."""
    return Shop()
