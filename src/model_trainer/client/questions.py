"""Questions to trained models: asked, waited for, or told as they are answered."""

from collections.abc import Iterator
from typing import Literal

from model_trainer.client.answers import AnswerView
from model_trainer.client.follow import follow
from model_trainer.client.http import HttpConnection, path_part
from model_trainer.client.problems import error_of
from model_trainer.client.views import ServerEvent, read_view
from model_trainer.core.contracts.base import JsonObject

Verb = Literal["generate", "score", "chat", "predict"]
WAIT_SECONDS = 30
"""So long one request waits for its answer; whoever has more patience asks again."""
PAUSE_SECONDS = 0.2
"""Before it asks again: a server that is stopping waits for nothing."""


class Questions:
    """What can be asked of models over one connection."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    def ask(
        self,
        verb: Verb,
        run_id: str,
        spec: JsonObject,
        *,
        wait_seconds: int | None = WAIT_SECONDS,
        idempotency_key: str | None = None,
    ) -> AnswerView:
        """Asks, and waits for the answer as long as was said (None: not at all); how it stands then.

        Raises what the server refuses with, and why there is no answer when that turns out in time.
        """
        body = self._connection.post(
            f"/runs/{path_part(run_id)}/{verb}",
            body=spec,
            idempotency_key=idempotency_key,
            wait_seconds=wait_seconds,
        )
        return read_view(AnswerView, body)

    def look(self, verb: str, run_id: str, request_id: str, *, wait_seconds: int | None = None) -> AnswerView:
        """How a question stands; raises REQUEST_NOT_FOUND, also for one whose answer has expired."""
        body = self._connection.get(_place(verb, run_id, request_id), wait_seconds=wait_seconds)
        return read_view(AnswerView, body)

    def wait(self, asked: AnswerView) -> AnswerView:
        """The question once it is answered; raises why it never will be."""
        answer = asked
        while not answer.is_over:
            self._connection.pause(PAUSE_SECONDS)
            answer = self.look(asked.kind, asked.run_id, asked.request_id, wait_seconds=WAIT_SECONDS)
        if answer.problem is not None:
            raise error_of(answer.problem)
        return answer

    def follow(self, asked: AnswerView) -> Iterator[ServerEvent]:
        """`token` for each piece of the answer as it comes, when `stream` was asked for; then `done` with the question as it
        stands."""
        path = f"{_place(asked.kind, asked.run_id, asked.request_id)}/events"
        return follow(self._connection, path, query={})


def _place(verb: str, run_id: str, request_id: str) -> str:
    return f"/runs/{path_part(run_id)}/{path_part(verb)}/{path_part(request_id)}"
