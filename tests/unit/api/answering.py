"""Somebody who answers questions, in a thread of this process, as the inference process would."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    INFERENCE_QUEUE,
    Conversation,
    InferenceKind,
    InferenceRecord,
    Piece,
    Timings,
    Turn,
)
from model_trainer.core.contracts.run import Problem, ProblemFault, Worker
from model_trainer.core.errors import ErrorCode
from model_trainer.core.ports.inference import InferenceStore

OWNER = "w-inference"
TIMINGS = Timings(queued=1.0, load=0.0, model=2.0, total=3.0)
Answer = Callable[[InferenceRecord], JsonObject | Problem]


def presence() -> Worker:
    """A process that answers."""
    return Worker(
        worker_id=new_ulid(),
        queue=INFERENCE_QUEUE,
        host="host",
        pid=1,
        devices=("cpu",),
        memory_bytes=1 << 30,
        cuda_memory_bytes=0,
        cpu_count=1,
        native_bf16=False,
        extras=(),
        version="0",
    )


def echo(record: InferenceRecord) -> JsonObject:
    """What was asked, as the answer."""
    return {"asked": record.request.spec}


def refusing(record: InferenceRecord) -> Problem:
    """A fault that only the worker can see."""
    fault = ProblemFault(pointer="/prompt_text", message="is too long")
    return Problem(code=ErrorCode.CONFIG_INVALID, message="The prompt is too long.", faults=(fault,))


def take(store: InferenceStore, *, most: int = 9) -> tuple[InferenceRecord, ...]:
    """What waits, taken at once."""
    return store.take(OWNER, most=most, lease_seconds=60, wait_seconds=0)


def answer_all(store: InferenceStore, answer: Answer = echo, *, pieces: tuple[str, ...] = ()) -> int:
    """Answers what waits, once; how many that were."""
    return sum(_answered(store, record, answer, pieces) for record in take(store))


@contextmanager
def attended(store: InferenceStore, answer: Answer = echo, *, pieces: tuple[str, ...] = ()) -> Iterator[None]:
    """Inside, every question is answered as soon as it is asked."""
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            for record in store.take(OWNER, most=9, lease_seconds=60, wait_seconds=0.05):
                _answered(store, record, answer, pieces)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _answered(
    store: InferenceStore, record: InferenceRecord, answer: Answer, pieces: tuple[str, ...]
) -> bool:
    for text in pieces:
        store.tell(OWNER, record, (Piece(sequence=0, text=text),))
    result = answer(record)
    if isinstance(result, Problem):
        return store.fail(OWNER, record, result)
    conversation = _said(record) if record.request.kind is InferenceKind.CHAT else None
    return store.complete(OWNER, record, result=result, timings=TIMINGS, conversation=conversation)


def _said(record: InferenceRecord) -> Conversation:
    message = record.request.spec["message"]
    assert isinstance(message, str)
    assert record.request.conversation_id is not None
    return Conversation(
        conversation_id=record.request.conversation_id,
        run_id=record.request.run_id,
        system=None,
        turns=(Turn(role="user", content=message), Turn(role="assistant", content="Yes.")),
    )
