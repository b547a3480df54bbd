"""Telling the store what is on disk."""

import time

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.worker.recording import accounted


class Away(MemoryRunStore):
    """Counts the tries to reach it."""

    num_asked = 0

    def accounted(self, run_id: str) -> None:
        self.num_asked += 1
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")


def test_an_end_that_the_store_cannot_be_told_of_is_left_to_maintenance() -> None:
    store = Away(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)
    accounted(store, "01ARZ3NDEKTSV4RRFFQ69G5FA0")
    assert store.num_asked == 1
