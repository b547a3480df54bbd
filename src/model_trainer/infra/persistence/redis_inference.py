"""Requests to models in Redis: each change is one Lua script, docs/run-record.md tells which key is what."""

import threading
import time
from collections.abc import Iterator
from uuid import uuid4

from model_trainer.core.config.settings import InferenceSettings
from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.inference import (
    Conversation,
    GivenBack,
    InferenceKind,
    InferenceRecord,
    InferenceRequest,
    InferenceStatus,
    InferenceSubmission,
    Piece,
    StoredPiece,
    Timings,
)
from model_trainer.core.contracts.run import IdempotencyKey, Problem
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.ends import key_reused
from model_trainer.infra.persistence.inference_fields import hashes_of, inference_record_of
from model_trainer.infra.persistence.inference_rules import (
    LOST,
    SEEN,
    answer_has_expired,
    conversation_is_busy,
    conversation_key,
    conversation_not_found,
    idempotency_key,
    key_of,
    nothing_to_go_on_with,
    request_key,
    request_not_found,
    too_many_wait,
)
from model_trainer.infra.persistence.record_fields import pairs
from model_trainer.infra.persistence.redis_client import (
    Argument,
    RedisClient,
    Script,
    number,
    string_pairs,
    strings,
)
from model_trainer.infra.persistence.redis_runs import IDEMPOTENCY_SECONDS

log = get_logger(__name__)

LINE, LEASES, BELL = "inference:line", "inference:leases", "inference:bell"
BELL_SECONDS = 0.5
"""An ear is lent to the bell for so long at a time: less than the client's patience with a silent server."""


class RedisInferenceStore:
    """See InferenceStore. Safe to share between threads."""

    def __init__(self, client: RedisClient, settings: InferenceSettings) -> None:
        self._client = client
        self._settings = settings
        self._calls = _Calls()
        self._told: dict[str, dict[tuple[str, int], int]] = {}
        """By owner, how many pieces of each request that it took last were told, where that is known."""
        self._submit = _script("submit")
        self._take = _script("take")
        self._renew = _script("renew")
        self._tell = _script("tell")
        self._finish = _script("finish")
        self._give_back = _script("give_back")
        self._reap = _script("reap")

    def submit(self, request: InferenceRequest, *, idempotency: IdempotencyKey | None) -> InferenceSubmission:
        """See InferenceStore."""
        once: tuple[Argument, ...] = ("", 0, "")
        if idempotency is not None:
            once = (idempotency_key(idempotency), IDEMPOTENCY_SECONDS, idempotency.body_sha256)
        chat, conversation_id = "", request.conversation_id or ""
        if conversation_id:
            chat = conversation_key(request.run_id, conversation_id)
        most, text = self._settings.max_waiting, request.model_dump_json()
        goes_on = "1" if request.goes_on else ""
        arguments = (*once, chat, goes_on, most, request.batch_key, text)
        reply = self._client.run(self._submit, key=key_of(request), arguments=arguments)
        if reply[0] == "reused":
            raise key_reused()
        if reply[0] == "busy":
            raise conversation_is_busy(reply[1].rpartition(":")[2])
        if reply[0] == "gone":
            raise nothing_to_go_on_with(request.run_id, conversation_id)
        if reply[0] == "full":
            raise too_many_wait(most)
        if reply[0] == "ok":
            return InferenceSubmission(record=inference_record_of(pairs(reply[1:])), replayed=False)
        earlier = self._record_at(reply[1])
        if earlier is None:
            raise answer_has_expired()
        return InferenceSubmission(record=earlier, replayed=True)

    def find_submission(self, idempotency: IdempotencyKey) -> InferenceSubmission | None:
        """See InferenceStore."""
        earlier = string_pairs.validate_python(self._client.call("HGETALL", idempotency_key(idempotency)))
        if not earlier:
            return None
        if earlier["body_sha256"] != idempotency.body_sha256:
            raise key_reused()
        record = self._record_at(earlier["request"])
        return None if record is None else InferenceSubmission(record=record, replayed=True)

    def get(self, kind: InferenceKind, run_id: str, request_id: str) -> InferenceRecord:
        """See InferenceStore."""
        record = self._record_at(request_key(kind, run_id, request_id))
        if record is None:
            raise request_not_found(kind, run_id, request_id)
        return record

    def take(
        self, owner: str, *, most: int, lease_seconds: float, wait_seconds: float
    ) -> tuple[InferenceRecord, ...]:
        """See InferenceStore. Between two looks it listens to the bell; a stroke that is lost costs half a second."""
        until = time.monotonic() + wait_seconds
        while True:
            records = tuple(self._take_now(owner, most=most, lease_ms=_milliseconds(lease_seconds)))
            seconds_left = until - time.monotonic()
            if records or seconds_left <= 0:
                return records
            self._client.call("BLPOP", BELL, max(0.001, min(seconds_left, BELL_SECONDS)))

    def renew(self, owner: str, records: tuple[InferenceRecord, ...], *, lease_seconds: float) -> None:
        """See InferenceStore."""
        arguments = (owner, _milliseconds(lease_seconds), *_tries(records))
        self._client.run(self._renew, key=LEASES, arguments=arguments)

    def tell(self, owner: str, record: InferenceRecord, pieces: tuple[Piece, ...]) -> None:
        """See InferenceStore."""
        key = key_of(record.request)
        told = self._told.get(owner, {})
        position = told.get((key, record.tries), "")
        arguments = (owner, record.tries, position, *(piece.model_dump_json() for piece in pieces))
        reply = self._client.run(self._tell, key=key, arguments=arguments)
        if reply[0] == "ok":
            told[key, record.tries] = int(reply[1])

    def pieces_after(self, record: InferenceRecord, *, after: int, limit: int) -> tuple[StoredPiece, ...]:
        """See InferenceStore."""
        first = max(0, after)
        reply = self._client.call("LRANGE", f"{key_of(record.request)}:pieces", first, first + limit - 1)
        told = strings.validate_python(reply)
        return tuple(
            StoredPiece(seq=seq, piece=Piece.model_validate_json(text))
            for seq, text in enumerate(told, start=first + 1)
        )

    def complete(
        self,
        owner: str,
        record: InferenceRecord,
        *,
        result: JsonObject,
        timings: Timings,
        conversation: Conversation | None = None,
    ) -> bool:
        """See InferenceStore."""
        kept: tuple[Argument, ...] = ("", 0, "")
        if conversation is not None:
            key = conversation_key(conversation.run_id, conversation.conversation_id)
            kept = (key, self._settings.conversation_ttl_seconds, conversation.newest().model_dump_json())
        facts = ("result", dump_json(result), "timings", timings.model_dump_json())
        return self._end(owner, record, InferenceStatus.COMPLETED, (*kept, *facts))

    def fail(self, owner: str, record: InferenceRecord, problem: Problem) -> bool:
        """See InferenceStore."""
        arguments = ("", 0, "", "problem", problem.model_dump_json())
        return self._end(owner, record, InferenceStatus.FAILED, arguments)

    def give_back(self, owner: str, records: tuple[InferenceRecord, ...], *, why: GivenBack) -> None:
        """See InferenceStore."""
        arguments = (owner, why.value, *_tries(records))
        self._client.run(self._give_back, key=LINE, arguments=arguments)

    def reap(self, *, most_deaths: int) -> tuple[str, ...]:
        """See InferenceStore."""
        arguments = (most_deaths, LOST.model_dump_json(), self._settings.result_ttl_seconds)
        return tuple(self._client.run(self._reap, key=LEASES, arguments=arguments))

    def conversation(self, run_id: str, conversation_id: str) -> Conversation:
        """See InferenceStore."""
        text = self._client.call("GET", conversation_key(run_id, conversation_id))
        if text is None:
            raise conversation_not_found(run_id, conversation_id)
        return Conversation.model_validate_json(str(text))

    def depth(self) -> int:
        """See InferenceStore."""
        return number.validate_python(self._client.call("ZCARD", LINE))

    def _record_at(self, key: str) -> InferenceRecord | None:
        fields = string_pairs.validate_python(self._client.call("HGETALL", key))
        return inference_record_of(fields) if fields else None

    def _take_now(self, owner: str, *, most: int, lease_ms: int) -> Iterator[InferenceRecord]:
        arguments = (owner, self._calls.token_of(owner), most, lease_ms, SEEN)
        reply = self._client.run(self._take, key=LINE, arguments=arguments)
        self._calls.answered(owner)
        told = self._told[owner] = {}
        for key, fields in hashes_of(reply):
            try:
                record = inference_record_of(fields)
            except AppError as error:  # of another version, or damaged: the others must not wait for it
                log.warning("request_left_out", path=key, error_code=error.code.value, detail=error.message)
                self._client.call("DEL", key)
                continue
            told[key, record.tries] = 0
            yield record

    def _end(
        self,
        owner: str,
        record: InferenceRecord,
        status: InferenceStatus,
        arguments: tuple[Argument, ...],
    ) -> bool:
        key, kept_seconds = key_of(record.request), self._settings.result_ttl_seconds
        head = (owner, record.tries, status.value, kept_seconds)
        reply = self._client.run(self._finish, key=key, arguments=(*head, *arguments))
        return reply[0] == "ok"


class _Calls:
    """A token for each owner's call, the same one until it was answered: what it had taken is not taken for nobody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, str] = {}

    def token_of(self, owner: str) -> str:
        with self._lock:
            return self._tokens.setdefault(owner, uuid4().hex)

    def answered(self, owner: str) -> None:
        with self._lock:
            self._tokens.pop(owner, None)


def _script(name: str) -> Script:
    return Script(f"inference_{name}", words="inference_words")


def _tries(records: tuple[InferenceRecord, ...]) -> list[Argument]:
    return [part for record in records for part in (key_of(record.request), record.tries)]


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
