"""The inference stores under test, each with the means to let time pass and to hear what is announced."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
from redis.client import PubSub

from model_trainer.core.config.settings import InferenceSettings
from model_trainer.core.contracts.base import JsonObject, parse_json_object
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    Conversation,
    InferenceKind,
    InferenceRecord,
    InferenceRequest,
    Piece,
    Timings,
    Turn,
)
from model_trainer.core.contracts.run import IdempotencyKey, Problem
from model_trainer.core.errors import ErrorCode
from model_trainer.core.ports.inference import InferenceStore
from model_trainer.infra.persistence.memory_inference import MemoryInferenceStore
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_inference import RedisInferenceStore

SETTINGS = InferenceSettings(
    result_ttl_seconds=3600,
    conversation_ttl_seconds=7200,
    max_waiting=100,
    max_batch=8,
    max_wait_seconds=10.0,
    request_timeout_seconds=10.0,
    lease_seconds=10.0,
)
LEASE_SECONDS = 0.04
RUN_ID = new_ulid()
TIMINGS = Timings(queued=1.0, load=0.0, model=2.5, total=4.0)
TOO_LARGE = Problem(code=ErrorCode.OUT_OF_MEMORY, message="Ask for less.")


@dataclass
class InferenceUnderTest:
    """A store, and the world around it."""

    inference: InferenceStore
    pass_time: Callable[[float], None]
    expire: Callable[[str, float], None]
    """Lets so many seconds pass for one key."""
    announced: Callable[[], list[str]]
    """What was announced since the last call."""
    close: Callable[[], None]

    def submit(
        self,
        *,
        batch_key: str = "b",
        conversation_id: str | None = None,
        goes_on: bool = False,
        idempotency: IdempotencyKey | None = None,
    ) -> str:
        """The id of a new request in line."""
        request = new_request(batch_key=batch_key, conversation_id=conversation_id, goes_on=goes_on)
        return self.inference.submit(request, idempotency=idempotency).record.request.request_id

    def get(self, request_id: str, kind: InferenceKind = InferenceKind.GENERATE) -> InferenceRecord:
        """The record of a request made here."""
        return self.inference.get(kind, RUN_ID, request_id)

    def take(
        self, owner: str = "a", *, most: int = 8, lease_seconds: float = 60.0
    ) -> tuple[InferenceRecord, ...]:
        """What is in line now."""
        return self.inference.take(owner, most=most, lease_seconds=lease_seconds, wait_seconds=0.0)

    def take_one(self, owner: str = "a", *, lease_seconds: float = 60.0) -> InferenceRecord:
        """The oldest, which must be there."""
        (record,) = self.take(owner, most=1, lease_seconds=lease_seconds)
        return record

    def complete(self, owner: str, record: InferenceRecord, answer: str = "yes") -> bool:
        """Answers."""
        return self.inference.complete(owner, record, result={"answer": answer}, timings=TIMINGS)

    def told(self, record: InferenceRecord) -> list[tuple[int, str]]:
        """All pieces there are."""
        stored = self.inference.pieces_after(record, after=0, limit=1000)
        return [(one.seq, one.piece.text) for one in stored]

    def tell(self, owner: str, record: InferenceRecord, *texts: str) -> None:
        """Some text of the first sequence."""
        self.inference.tell(owner, record, tuple(Piece(sequence=0, text=text) for text in texts))


def new_request(
    *,
    batch_key: str = "b",
    conversation_id: str | None = None,
    request_id: str | None = None,
    goes_on: bool = False,
) -> InferenceRequest:
    """What the API knows of a request. `goes_on`: its conversation must be there."""
    spec: JsonObject = {"prompt_text": 'say "ü" \\ / 🙂\n', "stop_sequences": [], "empty": {}}
    return InferenceRequest(
        request_id=request_id or new_ulid(),
        kind=InferenceKind.GENERATE if conversation_id is None else InferenceKind.CHAT,
        run_id=RUN_ID,
        spec=spec | {"conversation_id": conversation_id if goes_on else None},
        batch_key=batch_key,
        conversation_id=conversation_id,
        http_request_id="http-1",
    )


def redis_inference(client: RedisClient, settings: InferenceSettings = SETTINGS) -> InferenceUnderTest:
    """The store in Redis."""
    connection: redis.Redis = client.connection
    subscribe: Callable[[], PubSub] = connection.pubsub
    ear = subscribe()
    ear.subscribe("inference:events")
    ear.get_message(timeout=1.0)

    def expire(key: str, seconds: float) -> None:
        left = client.call("PTTL", key)
        assert isinstance(left, int)
        milliseconds_left = left - round(seconds * 1000)
        if milliseconds_left > 0:
            client.call("PEXPIRE", key, milliseconds_left)
        else:
            client.call("DEL", key)

    def announced() -> list[str]:
        """All that was published before a ping that goes the same way."""
        heard: list[str] = []
        ear.ping()
        while True:
            message = ear.get_message(timeout=5.0)
            assert message is not None
            kind, note = str(message["type"]), str(message["data"])
            if kind == "pong":
                return heard
            heard.append(str(parse_json_object(note)["run_id"]))

    return InferenceUnderTest(
        inference=RedisInferenceStore(client, settings),
        pass_time=time.sleep,
        expire=expire,
        announced=announced,
        close=ear.close,
    )


def memory_inference(settings: InferenceSettings = SETTINGS) -> InferenceUnderTest:
    """The fake that ships, with a clock that only tests move."""
    now = [1_700_000_000.0]
    notes: list[str] = []

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    def expire(_: str, seconds: float) -> None:
        now[0] += seconds

    def announced() -> list[str]:
        heard = notes.copy()
        notes.clear()
        return heard

    return InferenceUnderTest(
        inference=MemoryInferenceStore(settings, clock=lambda: now[0], announce=notes.append),
        pass_time=pass_time,
        expire=expire,
        announced=announced,
        close=notes.clear,
    )


def ids(records: tuple[InferenceRecord, ...]) -> list[str]:
    """Their ids, in order."""
    return [record.request.request_id for record in records]


def key_of(record: InferenceRecord) -> str:
    """The key of Redis that holds a request."""
    request = record.request
    return f"{request.kind.value}:{request.run_id}:{request.request_id}"


def conversation(conversation_id: str, *contents: str) -> Conversation:
    """What was said until now, by a user alone."""
    turns = tuple(Turn(role="user", content=content) for content in contents)
    return Conversation(conversation_id=conversation_id, run_id=RUN_ID, system="Be brief.", turns=turns)
