"""One installation for each module, and what an undisturbed run leaves there."""

from collections.abc import Callable, Iterator

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from tests.faults.installation import Installation, undisturbed

Expect = Callable[[JsonObject], dict[str, str]]


@pytest.fixture(scope="module")
def module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A durable Redis that tests may kill, freeze and misconfigure, as long as they mend it."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def installation(
    module_redis: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """An installation over it."""
    made = Installation(tmp_path_factory.mktemp("installation"), module_redis.url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def expected(installation: Installation) -> Expect:
    """What an undisturbed run of a spec leaves; computed once."""
    known: dict[str, dict[str, str]] = {}

    def of(base: JsonObject) -> dict[str, str]:
        key = f"undisturbed-{base['max_steps']}"
        if key not in known:
            known[key] = undisturbed(installation, base, key=key)
        return known[key]

    return of


@pytest.fixture(autouse=True)
def _nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that failed leaves no process to the next one."""
    yield
    if "installation" in request.fixturenames:
        made: Installation = request.getfixturevalue("installation")
        made.end_attempts()
