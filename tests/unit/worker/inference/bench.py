"""Requests in the fake store, and children that answer as a script says."""

import errno
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from model_trainer.core.config import load_settings
from model_trainer.core.config.settings import InferenceSettings
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    Conversation,
    GivenBack,
    InferenceKind,
    InferenceRecord,
    InferenceRequest,
    InferenceStatus,
    Timings,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory_inference import MemoryInferenceStore
from model_trainer.worker.inference.frames import Answered, Batch, Done, Frame, Order
from model_trainer.worker.inference.serving import InferenceServer

RUN_ID = new_ulid()


def settings(**changes: object) -> InferenceSettings:
    return load_settings(env_file=None).inference.model_copy(update=changes)


def request(
    kind: InferenceKind = InferenceKind.GENERATE,
    *,
    run_id: str = RUN_ID,
    batch_key: str = "same",
    conversation_id: str | None = None,
    spec: Mapping[str, object] | None = None,
) -> InferenceRequest:
    body = spec or {"prompt_text": "the cat"}
    return InferenceRequest.model_validate(
        {
            "request_id": new_ulid(),
            "kind": kind,
            "run_id": run_id,
            "spec": body,
            "batch_key": batch_key,
            "conversation_id": conversation_id,
            "http_request_id": "r-1",
        }
    )


class ShakyInferenceStore(MemoryInferenceStore):
    """The fake store, with a switch that makes it unreachable."""

    away = False
    asked = 0
    deaf_to: Collection[str] = ()
    """No answer to these requests gets through."""
    renewals_refused = 0

    def __init__(
        self, settings: InferenceSettings, *, clock: Callable[[], float], announce: Callable[[str], None]
    ) -> None:
        super().__init__(settings, clock=clock, announce=announce)
        self.unheard: Counter[str] = Counter()
        """How often answers did not get through, by request."""
        self.at_take: Callable[[], None] = lambda: None

    def take(
        self, owner: str, *, most: int, lease_seconds: float, wait_seconds: float
    ) -> tuple[InferenceRecord, ...]:
        self._answer()
        self.at_take()
        return super().take(
            owner, most=most, lease_seconds=lease_seconds, wait_seconds=min(wait_seconds, 0.01)
        )

    def renew(self, owner: str, records: tuple[InferenceRecord, ...], *, lease_seconds: float) -> None:
        self.renewals_refused += self.away
        self._answer()
        super().renew(owner, records, lease_seconds=lease_seconds)

    def complete(
        self,
        owner: str,
        record: InferenceRecord,
        *,
        result: JsonObject,
        timings: Timings,
        conversation: Conversation | None = None,
    ) -> bool:
        if record.request.request_id in self.deaf_to:
            self.unheard[record.request.request_id] += 1
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")
        return super().complete(owner, record, result=result, timings=timings, conversation=conversation)

    def give_back(self, owner: str, records: tuple[InferenceRecord, ...], *, why: GivenBack) -> None:
        self._answer()
        super().give_back(owner, records, why=why)

    def reap(self, *, most_deaths: int) -> tuple[str, ...]:
        self._answer()
        return super().reap(most_deaths=most_deaths)

    def _answer(self) -> None:
        self.asked += 1
        if self.away:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")


class Dies(Exception):
    """Said by a script: the child dies here."""


Script = Callable[[Batch], Iterator[Frame | None]]
"""What a child says to a batch; None: nothing for a moment."""


class ScriptedChild:
    """Says what its script says; dies where that raises Dies, and is silent where it ends without Done."""

    def __init__(self, script: Callable[[], Script]) -> None:
        self._script = script
        self._saying: Iterator[Frame | None] = iter(())
        self._next: deque[bytes | None] = deque()
        self.alive = True
        self.hears = True
        self.batches: list[Batch] = []
        self.ends: list[str] = []

    fate = "was ended by SIGKILL"

    def is_alive(self) -> bool:
        return self.alive

    def send(self, data: bytes) -> None:
        if not self.hears:
            raise BrokenPipeError
        batch = Batch.model_validate_json(data)
        self.batches.append(batch)
        self._saying = self._script()(batch)

    def has_said(self, *, within_seconds: float) -> bool:
        if not self._next:
            try:
                said = next(self._saying)
                if said is None:
                    return False
                self._next.append(said.model_dump_json().encode())
            except StopIteration:
                time.sleep(min(within_seconds, 0.002))
                return False
            except Dies:
                self.alive = False
                self._next.append(None)
        return True

    def receive(self) -> bytes:
        data = self._next.popleft()
        if data is None:
            raise EOFError
        return data

    def end(self) -> None:
        self.alive = False
        self.ends.append("let go")

    def kill(self) -> None:
        self.alive = False
        self.ends.append("killed")


class Impatient(threading.Event):
    """Does not wait, but keeps for how long it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.rested: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.rested.append(timeout or 0.0)
        return self.is_set()


@dataclass
class Room:
    """A server over the fake store, whose children follow one script after the other."""

    scripts: list[Script]
    settings: InferenceSettings = field(default_factory=settings)
    stop_grace_seconds: float = 30.0
    now: float = 1_000_000.0

    def __post_init__(self) -> None:
        self.announced: list[str] = []
        self.store = ShakyInferenceStore(
            self.settings, clock=lambda: self.now, announce=self.announced.append
        )
        self.children: list[ScriptedChild] = []
        self.stop = threading.Event()
        self.forks_to_refuse = 0
        self.forks_refused = 0
        self.alive = 0
        self.clock_now = 0.0
        self.server = InferenceServer(
            self.store,
            owner="worker-1",
            settings=self.settings,
            make_child=self.make_child,
            say_alive=self.say_alive,
            stop_grace_seconds=self.stop_grace_seconds,
            clock=self.clock,
        )

    def clock(self) -> float:
        """A hundredth of a second later each time it is looked at."""
        self.clock_now += 0.01
        return self.clock_now

    def make_child(self) -> ScriptedChild:
        if self.forks_refused < self.forks_to_refuse:
            self.forks_refused += 1
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        place = len(self.children)
        self.children.append(ScriptedChild(lambda: self.scripts[min(place, len(self.scripts) - 1)]))
        return self.children[-1]

    def say_alive(self) -> None:
        self.alive += 1

    def submit(self, asked: InferenceRequest) -> InferenceRequest:
        self.store.submit(asked, idempotency=None)
        return asked

    def record(self, asked: InferenceRequest) -> InferenceRecord:
        return self.store.get(asked.kind, asked.run_id, asked.request_id)

    def serve_until(self, happened: Callable[[], bool]) -> None:
        """Serves in this thread; stops when `happened` says so, asked beside it."""
        deadline = time.monotonic() + 20

        def watch() -> None:
            while not happened() and time.monotonic() < deadline:
                time.sleep(0.002)
            self.stop.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        self.server.serve(self.stop)
        watcher.join()
        assert happened(), "it never happened"

    def serve_until_ended(self, *asked: InferenceRequest) -> None:
        self.serve_until(lambda: all(self.record(one).status.is_terminal for one in asked))


def order_of(asked: InferenceRequest, conversation: Conversation | None = None) -> Order:
    """A request as the child gets it."""
    record = InferenceRecord(
        request=asked,
        status=InferenceStatus.RUNNING,
        tries=1,
        owner="worker-1",
        created_at_ms=1,
        started_at_ms=2,
        finished_at_ms=None,
        result=None,
        problem=None,
        timings=None,
    )
    return Order(record=record, conversation=conversation)


def answer(request_id: str, result: JsonObject) -> Answered:
    """An answer after a load of 1 ms and 2 ms of the model."""
    return Answered(request_id=request_id, result=result, load=1.0, model=2.0)


def answer_all(batch: Batch) -> Iterator[Frame]:
    """A child that has an answer for everybody."""
    for order in batch.orders:
        yield answer(order.request_id, {"said": "yes"})
    yield Done()
