"""What somebody asks of the API while it is shot at: each in a thread of its own, each until it is answered."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeVar

from model_trainer.client import TrainerClient
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from tests.chaos.oracle import canonical

AnswerT = TypeVar("AnswerT")
Verb = Literal["pause", "cancel"]
UNREACHABLE = frozenset({ErrorCode.SERVICE_UNAVAILABLE, ErrorCode.STORE_UNAVAILABLE})
AGAIN_SECONDS = 0.1
STILL_SECONDS = 30.0


class Errands:
    """Submissions, verbs and readers of event streams. Close it to end them all."""

    def __init__(self, new_client: Callable[[], TrainerClient]) -> None:
        """`new_client`: a client for one errand alone."""
        self._new_client = new_client
        self._threads = ThreadPoolExecutor(thread_name_prefix="errand", max_workers=16)
        self._over = threading.Event()

    def submit(self, order: JsonObject) -> Future[str]:
        """A run's id, once somebody has answered. One key is one run, however often it is sent."""
        key = new_ulid()

        def ask(client: TrainerClient) -> str:
            return client.train(order, idempotency_key=key).run_id

        return self._threads.submit(self._persistently, ask)

    def stop_and_resume(self, run_id: str, verb: Verb, *, seed: int) -> Future[bool]:
        """Pauses or cancels a run, and has it go on when it stands still; False when it had ended before."""
        source = random.Random(seed)

        def ask_to_stop(client: TrainerClient) -> bool:
            return _is_accepted(lambda: client.pause(run_id) if verb == "pause" else client.cancel(run_id))

        def ask_to_resume(client: TrainerClient) -> bool:
            _is_accepted(
                lambda: client.resume(run_id)
            )  # refused after an answer that was lost: it goes on already
            return True

        def stop_and_resume() -> bool:
            if not self._persistently(ask_to_stop):
                return False
            deadline = time.monotonic() + STILL_SECONDS
            while (status := self._persistently(lambda client: client.run(run_id).status)) not in (
                "paused",
                "cancelled",
            ):
                if status in ("completed", "failed") or time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
            time.sleep(source.uniform(0, 0.5))
            return self._persistently(ask_to_resume)

        return self._threads.submit(stop_and_resume)

    def follow(self, run_id: str) -> "Follower":
        """Reads a run's event stream from now on, in a thread."""
        follower = Follower(run_id)
        self._threads.submit(self._read, follower)
        return follower

    def close(self) -> None:
        """Ends all errands; those that wait for an answer raise."""
        self._over.set()
        self._threads.shutdown(cancel_futures=True)

    def _persistently(self, ask: Callable[[TrainerClient], AnswerT]) -> AnswerT:
        with self._new_client() as client:
            while True:
                try:
                    return ask(client)
                except AppError as error:
                    if error.code not in UNREACHABLE or self._over.is_set():
                        raise
                time.sleep(AGAIN_SECONDS)

    def _read(self, follower: "Follower") -> None:
        with self._new_client() as client:
            while not (follower.done.is_set() or self._over.is_set()):
                try:
                    for event in client.follow_events(follower.run_id, after=len(follower.heard)):
                        if event.id is not None:
                            follower.heard.append((int(event.id), canonical(event.data)))
                        if self._over.is_set():
                            return
                except AppError as error:
                    if error.code not in UNREACHABLE:
                        follower.refused = error.message
                        return
                follower.done.wait(AGAIN_SECONDS)  # a cancelled run's stream ends; the run may go on


def _is_accepted(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except AppError as error:
        if error.code is ErrorCode.CONFLICT:
            return False
        raise
    return True


class Follower:
    """What one reader of an event stream has heard so far."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.heard: list[tuple[int, str]] = []
        """Sequence number, and what came with it."""
        self.refused = ""
        self.done = threading.Event()
        """Set it when nothing will follow."""
