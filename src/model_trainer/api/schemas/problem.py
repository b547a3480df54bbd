"""The one shape of every error body: RFC 9457 with our fields."""

from model_trainer.core.contracts.base import Contract
from model_trainer.core.errors import ErrorCode

PROBLEM_MEDIA_TYPE = "application/problem+json"


class FieldProblem(Contract):
    """One wrong field."""

    pointer: str
    """JSON pointer into the body, or the name of a path or query parameter."""
    message: str


class ProblemDocument(Contract):
    """application/problem+json."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    """The same sentence as `message`."""
    code: ErrorCode
    """Stable and greppable; what programs look at."""
    message: str
    """For a person: what is wrong and what to do next."""
    request_id: str
    """Of this HTTP request; every log line about it carries it."""
    retryable: bool
    """Whether the same request may succeed later."""
    errors: tuple[FieldProblem, ...] = ()


class RunProblem(ProblemDocument):
    """Why a run failed: the same document, as it would have been answered had it been known at once."""

    exception: str | None
    """Type and text of the last exception, when it was nothing that the service foresaw."""
