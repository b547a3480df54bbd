"""Requests to trained models on their way to a worker and back. Nothing here lasts: every key has a time to live."""

from typing import Protocol

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.inference import (
    Conversation,
    GivenBack,
    InferenceKind,
    InferenceRecord,
    InferenceRequest,
    InferenceSubmission,
    Piece,
    StoredPiece,
    Timings,
)
from model_trainer.core.contracts.run import IdempotencyKey, Problem


class InferenceStore(Protocol):
    """Hands requests to workers, each to one at a time, and keeps answers for a while.

    Adapters raise STORE_UNAVAILABLE when the store cannot be reached.
    """

    def submit(self, request: InferenceRequest, *, idempotency: IdempotencyKey | None) -> InferenceSubmission:
        """Puts a request in line, once per idempotency key, and wakes a worker up.

        Raises IDEMPOTENCY_KEY_REUSED; SERVICE_UNAVAILABLE when too many wait already; CONFLICT while an earlier message of the
        same conversation is unanswered; CONFIG_INVALID naming /conversation_id for one that goes on with a conversation that
        is not there.
        """
        ...

    def find_submission(self, idempotency: IdempotencyKey) -> InferenceSubmission | None:
        """What an earlier request put in line with this key and body; None when the key is new, or its request has expired.

        Raises IDEMPOTENCY_KEY_REUSED when the body was another.
        """
        ...

    def get(self, kind: InferenceKind, run_id: str, request_id: str) -> InferenceRecord:
        """A request, and its answer when there is one; raises REQUEST_NOT_FOUND, also for one that has expired."""
        ...

    def take(
        self, owner: str, *, most: int, lease_seconds: float, wait_seconds: float
    ) -> tuple[InferenceRecord, ...]:
        """The oldest request in line and others with the same batch key, `running` and held by `owner` from now on; nothing
        when none has come for `wait_seconds`."""
        ...

    def renew(self, owner: str, records: tuple[InferenceRecord, ...], *, lease_seconds: float) -> None:
        """Holds requests for longer. One that another owner has by now is passed over."""
        ...

    def tell(self, owner: str, record: InferenceRecord, pieces: tuple[Piece, ...]) -> None:
        """Appends pieces of an answer and wakes its readers up. A stale owner's are dropped.

        After an error nobody knows whether they arrived: send them again, in front of newer ones; those that are there are
        not told twice.
        """
        ...

    def pieces_after(self, record: InferenceRecord, *, after: int, limit: int) -> tuple[StoredPiece, ...]:
        """Pieces with seq > after, in order."""
        ...

    def complete(
        self,
        owner: str,
        record: InferenceRecord,
        *,
        result: JsonObject,
        timings: Timings,
        conversation: Conversation | None = None,
    ) -> bool:
        """The answer, kept for a while, and the newest turns of the conversation as it stands now; False (nothing is written)
        for a stale owner."""
        ...

    def fail(self, owner: str, record: InferenceRecord, problem: Problem) -> bool:
        """The reason why there is no answer; False for a stale owner."""
        ...

    def give_back(self, owner: str, records: tuple[InferenceRecord, ...], *, why: GivenBack) -> None:
        """Puts requests back, in front, pieces told so far forgotten. Unless the owner just stops, each will be taken by itself
        from now on; LOST counts as one more of their deaths."""
        ...

    def reap(self, *, most_deaths: int) -> tuple[str, ...]:
        """Requests whose owner has been silent for longer than its lease go back in line as LOST; those of so many deaths
        fail with WORKER_LOST. Returns the ids it touched."""
        ...

    def conversation(self, run_id: str, conversation_id: str) -> Conversation:
        """What was said so far; raises REQUEST_NOT_FOUND, also for one that has expired."""
        ...

    def depth(self) -> int:
        """Requests in line."""
        ...
