"""The artifact store is asked now and then, however often somebody asks for its health."""

import threading

from model_trainer.api.store_health import FRESH_SECONDS, StoreHealth
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.stores.memory import MemoryStore


class Store(MemoryStore):
    """A store that can go away, and counts who looks."""

    def __init__(self) -> None:
        super().__init__()
        self.is_there = True
        self.looks = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.was_asked = threading.Event()

    def check(self) -> None:
        self.looks += 1
        self.was_asked.set()
        self.may_answer.wait(20)
        if not self.is_there:
            raise AppError(
                ErrorCode.STORE_UNAVAILABLE, "The bucket does not answer. Look at STORE__S3__ENDPOINT."
            )


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_store_that_went_away_and_came_back_is_noticed_after_a_few_seconds() -> None:
    store, clock = Store(), Clock()
    health = StoreHealth(store, clock=clock)
    assert health.fault() is None

    store.is_there = False
    clock.now += FRESH_SECONDS - 0.1
    assert health.fault() is None
    clock.now += 0.1
    assert health.fault() == "The bucket does not answer. Look at STORE__S3__ENDPOINT."

    store.is_there = True
    clock.now += FRESH_SECONDS
    assert health.fault() is None
    assert store.looks == 3


def test_nobody_waits_for_a_store_that_somebody_else_is_asking() -> None:
    store = Store()
    store.may_answer.clear()
    health = StoreHealth(store, clock=Clock())
    asking = threading.Thread(target=health.fault)
    asking.start()
    assert store.was_asked.wait(20)

    assert health.fault() is None

    store.may_answer.set()
    asking.join()
    assert store.looks == 1
