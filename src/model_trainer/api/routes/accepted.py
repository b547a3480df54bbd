"""The answer to every accepted job: 202, where to look, and what stands there now."""

from collections.abc import Callable

from pydantic import BaseModel
from starlette.responses import Response

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.run import IdempotencyKey, Submission
from model_trainer.core.ports.runs import RunStore

REPLAYED = "Idempotent-Replayed"
ACCEPTED: dict[int, JsonObject] = {
    202: {
        "description": "Accepted: recorded and in the queue.",
        "headers": {
            "Location": {"description": "Where the job can be watched.", "schema": {"type": "string"}},
            REPLAYED: {
                "description": "true when an earlier request with this Idempotency-Key had made it.",
                "schema": {"type": "string", "enum": ["true"]},
            },
        },
    }
}


def once(
    runs: RunStore, idempotency: IdempotencyKey | None, order: Callable[[IdempotencyKey | None], Submission]
) -> Submission:
    """What this key ordered before, else `order` carried out: a repeated request is not judged again, so it is answered
    the same although its corpus, say, has gone since."""
    earlier = None if idempotency is None else runs.find_submission(idempotency)
    return earlier or order(idempotency)


def accepted(submission: Submission, view: BaseModel, *, location: str) -> Response:
    """202 with Location; a replay says so."""
    headers = {"Location": location}
    if submission.replayed:
        headers[REPLAYED] = "true"
    return Response(view.model_dump_json(), status_code=202, headers=headers, media_type="application/json")
