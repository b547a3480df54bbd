"""A stand-in for the API: answers from a script, remembers what it was asked."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx

from model_trainer.client import TrainerClient

RUN_ID = "01JD0000000000000000000000"
TOKENIZER_ID = "01JD0000000000000000000001"
QUESTION_ID = "01JD0000000000000000000009"
Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def run_view(**changes: object) -> dict[str, object]:
    """A run as the API shows it."""
    run: dict[str, object] = {
        "run_id": RUN_ID,
        "kind": "train",
        "family": "gpt2",
        "status": "running",
        "phase": "training",
        "message": "Training gpt2",
        "progress": {"step": 3, "total_steps": 10, "fraction": 0.3, "epoch": 0.1},
        "metrics": {"loss": 2.5},
        "created_at": "2026-11-21T01:02:03.123456Z",
        "problem": None,
        "metadata": {"team": "blue"},
        "links": {"self": f"/runs/{RUN_ID}"},
    }
    return run | changes


def tokenizer_view(**changes: object) -> dict[str, object]:
    """A tokenizer as the API shows it."""
    tokenizer: dict[str, object] = {
        "tokenizer_id": TOKENIZER_ID,
        "method": "bpe",
        "status": "completed",
        "phase": "done",
        "message": "Done",
        "vocab_size": 300,
        "stats": {"tokens_per_char": 0.25, "num_tokens": 1000, "measured_on": "holdout"},
        "problem": None,
        "metadata": {},
        "links": {},
    }
    return tokenizer | changes


def answered(kind: str, result: dict[str, object] | None, **changes: object) -> dict[str, object]:
    """A question to a model as the API shows it: completed, when it has a result."""
    question: dict[str, object] = {
        "request_id": QUESTION_ID,
        "run_id": RUN_ID,
        "kind": kind,
        "status": "queued" if result is None else "completed",
        "conversation_id": None,
        "timings": {"queued": 1.0, "load": 0.0, "model": 40.0, "total": 42.4},
        "problem": None,
        "result": result,
        "links": {},
    }
    return question | changes


def page(*items: dict[str, object], has_more: bool = False, last_id: str | None = None) -> dict[str, object]:
    """A page of a list."""
    return {"data": list(items), "has_more": has_more, "first_id": None, "last_id": last_id}


def problem(status: int, code: str, message: str, **more: object) -> httpx.Response:
    """A problem document."""
    body = {"type": "about:blank", "status": status, "code": code, "message": message, "request_id": "req-1"}
    return httpx.Response(status, json=body | more, headers={"content-type": "application/problem+json"})


def event_stream(*events: tuple[int | None, str, dict[str, object]], breaks: bool = False) -> httpx.Response:
    """Server-sent events; `breaks` ends the connection with a fault instead of an end."""

    def chunks() -> Iterator[bytes]:
        yield b"retry: 3000\n\n"
        for number, name, data in events:
            place = "" if number is None else f"id: {number}\n"
            yield f"{place}event: {name}\ndata: {json.dumps(data)}\n\n: ping\n\n".encode()
        if breaks:
            raise httpx.ReadError("the line is dead")

    return httpx.Response(200, content=chunks(), headers={"content-type": "text/event-stream"})


@dataclass
class FakeApi:
    """Answers per (method, path): the next one of its list, the last one for ever."""

    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def on(self, method: str, path: str, *answers: Answer | dict[str, object]) -> "FakeApi":
        """Scripts a path; a mapping is a 200 with that body."""
        made: list[Answer] = [
            httpx.Response(200, json=one) if isinstance(one, dict) else one for one in answers
        ]
        self.answers[method, path] = made
        return self

    def handle(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        self.requests.append(request)
        script = self.answers.get((request.method, request.url.path))
        if script is None:
            return problem(404, "NOT_FOUND", "There is nothing at this path.")
        answer = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def client(self, *, api_key: str | None = None) -> TrainerClient:
        """A client that speaks to it and never really waits."""
        return TrainerClient(
            "http://api.test",
            api_key=api_key,
            transport=httpx.MockTransport(self.handle),
            sleep=self.pauses.append,
        )

    def sent(self, position: int = -1) -> dict[str, object]:
        """The JSON body of a request."""
        body: dict[str, object] = json.loads(self.requests[position].content)
        return body
