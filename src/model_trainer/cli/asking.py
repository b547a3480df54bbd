"""Commands that ask trained models and show their answers."""

import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from model_trainer.cli import rendering
from model_trainer.cli.session import Session
from model_trainer.cli.spec_file import read_text
from model_trainer.client import TrainerClient
from model_trainer.client.answers import AnswerView, GeneratedView, ReplyView, ScoredView
from model_trainer.client.problems import error_of
from model_trainer.client.questions import Verb
from model_trainer.client.views import read_view
from model_trainer.core.contracts.base import JsonObject, as_json, dump_json
from model_trainer.core.errors import AppError, ErrorCode


def generate(session: Session, run_id: str, spec: JsonObject) -> None:
    """What a language model makes of a prompt: one text as it comes, several one below the other."""
    with session.connect() as client:
        if not session.output.as_json and spec.get("num_return_sequences", 1) == 1:
            answer = _told(session, client, "generate", run_id, spec)
        else:
            answer = client.questions.wait(client.questions.ask("generate", run_id, spec))
            _show_all(session, answer)
    session.output.note(_summary(answer))


def score(session: Session, run_id: str, spec: JsonObject) -> None:
    """How well a language model knows a text."""
    with session.connect() as client:
        answer = client.questions.wait(client.questions.ask("score", run_id, spec))
    session.output.show(as_json(answer), render=lambda: rendering.score_card(answer.read(ScoredView)))


def chat(session: Session, run_id: str, spec: JsonObject, *, message: str | None) -> None:
    """One message and its answer; without one a conversation, line by line, until the input ends (Ctrl-D)."""
    begun = spec
    conversation_id = None
    try:
        with session.connect() as client:
            for text in _messages() if message is None else [message]:
                reply = _replied(session, client, run_id, {**begun, "message": text})
                conversation_id = reply.conversation_id
                kept = {name: value for name, value in begun.items() if name not in ("system", "history")}
                begun = {**kept, "conversation_id": conversation_id}
    finally:  # a message that failed leaves the conversation as it was
        if conversation_id is not None:
            again = f"model-trainer run chat {run_id} --conversation {conversation_id}"
            session.output.note(f"Go on with this conversation: {again}")


def predict(
    session: Session, run_id: str, *, texts: Sequence[str], files: Sequence[str], decision: str | None
) -> None:
    """What a detector says of texts given as they are, then of files, each of which is one text."""
    asked = [*texts, *map(read_text, files)]
    if not asked:
        message = "There is nothing to judge: name files (- for standard input), or give --text."
        raise AppError(ErrorCode.CONFIG_INVALID, message)
    names = [*(f"text {number}" for number in range(1, len(texts) + 1)), *files]
    with session.connect() as client:
        found = tuple(client.predict(run_id, asked, decision=decision))
    rows = list(zip(names, found, strict=True))
    session.output.show([as_json(one) for one in found], render=lambda: rendering.prediction_table(rows))


def given_text(text: str | None, file: str | None, *, options: str) -> str | None:
    """A text given as it is, or as a file of this machine; raises CONFIG_INVALID for both."""
    if file is None:
        return text
    if text is not None:
        raise AppError(ErrorCode.CONFIG_INVALID, f"Give one of {options}.")
    return read_text(file)


def _told(session: Session, client: TrainerClient, verb: Verb, run_id: str, spec: JsonObject) -> AnswerView:
    """The answer, shown as it came; raises why there is none."""
    asked = client.questions.ask(verb, run_id, {**spec, "stream": True}, wait_seconds=None)
    for event in client.questions.follow(asked):
        if event.name == "token":
            session.output.words(str(event.data.get("text", "")))
        else:
            asked = read_view(AnswerView, dump_json(event.data))
    session.output.line("")
    if asked.problem is not None:
        raise error_of(asked.problem)
    return asked


def _replied(session: Session, client: TrainerClient, run_id: str, asked: JsonObject) -> ReplyView:
    """One message and its answer."""
    if session.output.as_json:
        answer = client.questions.wait(client.questions.ask("chat", run_id, asked))
        session.output.line(dump_json(as_json(answer)))
    else:
        answer = _told(session, client, "chat", run_id, asked)
    reply = answer.read(ReplyView)
    if reply.dropped_turns:
        session.output.note(f"({reply.dropped_turns} turns before were left out: the context is full)")
    return reply


def _show_all(session: Session, answer: AnswerView) -> None:
    if session.output.as_json:
        session.output.line(dump_json(as_json(answer)))
        return
    for number, output in enumerate(answer.read(GeneratedView).outputs, 1):
        session.output.note(f"--- {number}")
        session.output.words(f"{output.text}\n")


def _summary(answer: AnswerView) -> str:
    ends = ", ".join(
        f"{one.steps} tokens ({one.finish_reason})" for one in answer.read(GeneratedView).outputs
    )
    took = "" if answer.timings is None else f" in {answer.timings.total:.0f} ms"
    return f"{ends}{took}"


def _messages() -> Iterator[str]:
    """The lines that say something."""
    stream: TextIO = sys.stdin
    while line := _next_line(stream):
        if line.strip():
            yield line.strip()


def _next_line(stream: TextIO) -> str:
    if stream.isatty():
        sys.stderr.write("> ")
        sys.stderr.flush()
    return stream.readline()
