"""Commands that ask trained models: what they send, and what people and programs see of the answer."""

import io
import json
import sys
from pathlib import Path

import httpx
import pytest

from tests.unit.cli.bench import Bench
from tests.unit.client.fake_api import QUESTION_ID, RUN_ID, answered, event_stream, problem

CONVERSATION_ID = "01JD0000000000000000000008"
FAULT: dict[str, object] = {"code": "OUT_OF_MEMORY", "message": "There was too little memory.", "errors": []}


class Terminal(io.StringIO):
    """A keyboard."""

    def isatty(self) -> bool:
        return True


def generated(*texts: str) -> dict[str, object]:
    """Continuations."""
    outputs = [
        {"text": text, "steps": 3, "eos_terminated": False, "finish_reason": "length"} for text in texts
    ]
    return answered("generate", {"outputs": outputs, "prompt_tokens": 1, "context": 8})


def reply(text: str, *, dropped_turns: int = 0) -> dict[str, object]:
    """A turn of the model's."""
    result = {"conversation_id": CONVERSATION_ID, "reply": text, "dropped_turns": dropped_turns}
    return answered("chat", result, conversation_id=CONVERSATION_ID)


def told(kind: str, done: dict[str, object], *pieces: str) -> httpx.Response:
    """A stream of pieces."""
    tokens: list[tuple[int | None, str, dict[str, object]]] = [
        (seq, "token", {"sequence": 0, "text": text, "seq": seq}) for seq, text in enumerate(pieces, 1)
    ]
    return event_stream(*tokens, (None, "done", done))


def streaming(bench: Bench, kind: str, *streams: httpx.Response) -> None:
    """Questions of a kind are accepted and told."""
    bench.api.on("POST", f"/runs/{RUN_ID}/{kind}", answered(kind, None))
    bench.api.on("GET", f"/runs/{RUN_ID}/{kind}/{QUESTION_ID}/events", *streams)


def test_a_text_is_printed_as_it_comes(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    streaming(bench, "generate", told("generate", generated(" upon a\x1b[2J"), " upon", " a\x1b[2J"))
    arguments = ["--prompt", "Once", "--max-new-tokens", "3", "--temperature", "0", "--top-k", "5"]
    more = ["--top-p", "0.9", "--stop", "\n", "--stop", "x", "--seed", "7", "--set", "min_p=0.1"]

    assert bench.run("run", "generate", RUN_ID, *arguments, *more) == 0

    captured = capsys.readouterr()
    assert captured.out == " upon a\N{REPLACEMENT CHARACTER}[2J\n"
    assert captured.err == "3 tokens (length) in 42 ms\n"
    assert json.loads(bench.api.requests[0].content) == {
        "prompt_text": "Once",
        "max_new_tokens": 3,
        "temperature": 0,
        "top_k": 5,
        "top_p": 0.9,
        "stop_sequences": ["\n", "x"],
        "seed": 7,
        "min_p": 0.1,
        "stream": True,
    }


def test_several_texts_come_one_below_the_other(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("POST", f"/runs/{RUN_ID}/generate", generated(" upon", " more") | {"timings": None})

    assert bench.run("run", "generate", RUN_ID, "--prompt", "Once", "--num-sequences", "2") == 0

    captured = capsys.readouterr()
    assert captured.out == " upon\n more\n"
    assert captured.err.splitlines() == ["--- 1", "--- 2", "3 tokens (length), 3 tokens (length)"]
    assert bench.api.sent() == {"prompt_text": "Once", "num_return_sequences": 2}


def test_programs_get_the_whole_view(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("POST", f"/runs/{RUN_ID}/generate", answered("generate", None))
    bench.api.on("GET", f"/runs/{RUN_ID}/generate/{QUESTION_ID}", generated(" upon"))

    assert bench.run("run", "generate", RUN_ID, "--path", "prompt.txt", "--json") == 0

    shown = json.loads(capsys.readouterr().out)
    assert (shown["request_id"], shown["result"]["outputs"][0]["text"]) == (QUESTION_ID, " upon")
    assert json.loads(bench.api.requests[0].content) == {"prompt_path": "prompt.txt"}


def test_a_prompt_may_lie_in_a_file_here(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Once \N{EM DASH}\n")
    streaming(bench, "generate", told("generate", generated("a"), "a"))

    assert bench.run("run", "generate", RUN_ID, "--prompt-file", str(tmp_path / "prompt.txt")) == 0

    assert json.loads(bench.api.requests[0].content)["prompt_text"] == "Once \N{EM DASH}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["generate", RUN_ID, "--prompt", "a", "--prompt-file", "b"], "--prompt and --prompt-file"),
        (["score", RUN_ID, "--text", "a", "--text-file", "b"], "--text and --text-file"),
    ],
)
def test_a_text_given_twice_is_refused_before_anybody_is_asked(
    bench: Bench, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert bench.run("run", *arguments) == 1
    assert named in capsys.readouterr().err
    assert bench.api.requests == []


def test_an_answer_that_breaks_off_says_why(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    failed = answered("generate", None, status="failed", problem=FAULT)
    streaming(bench, "generate", told("generate", failed, " upon"))

    assert bench.run("run", "generate", RUN_ID, "--prompt", "Once") == 1

    captured = capsys.readouterr()
    assert captured.out == " upon\n"
    assert "OUT_OF_MEMORY: There was too little memory." in captured.err


def test_a_question_that_is_refused_is_the_servers_word(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.api.on("POST", f"/runs/{RUN_ID}/generate", problem(409, "CONFLICT", "It is running."))
    assert bench.run("run", "generate", RUN_ID, "--prompt", "a") == 1
    assert "It is running." in capsys.readouterr().err


SCORED: dict[str, object] = {
    "loss": 1.5,
    "perplexity": 4.4817,
    "bits_per_byte": 0.72,
    "num_tokens": 1234,
    "num_characters": 3,
    "num_bytes": 3,
    "stride": None,
    "seed": 42,
    "tokens": None,
}


def test_a_text_is_measured(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "essay.txt").write_text("To be")
    bench.api.on("POST", f"/runs/{RUN_ID}/score", answered("score", SCORED))

    assert bench.run("run", "score", RUN_ID, "--text-file", str(tmp_path / "essay.txt")) == 0

    out = capsys.readouterr().out
    assert bench.api.sent() == {"text": "To be"}
    for shown in ("1.5000", "4.4817", "0.7200", "1,234"):
        assert shown in out
    assert "surprisal" not in out


def test_every_token_is_shown_when_asked_for(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = [
        {"token": "To", "start": 0, "end": 2, "surprisal": None, "top_k": []},
        {"token": "\n", "start": 2, "end": 3, "surprisal": 2.25, "top_k": []},
    ]
    bench.api.on("POST", f"/runs/{RUN_ID}/score", answered("score", SCORED | {"tokens": tokens}))
    arguments = ["run", "score", RUN_ID, "--text", "To\n", "--per-char", "--top-k", "2"]

    assert bench.run(*arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert bench.run(*arguments, "--json") == 0
    shown = json.loads(capsys.readouterr().out)

    assert bench.api.sent() == {"text": "To\n", "detail_level": "per_char", "top_k": 2}
    assert [line.split() for line in lines[-2:]][1] == ["'\\n'", "2-3", "2.2500"]
    assert lines[-2].split()[:2] == ["'To'", "0-2"]
    assert shown["result"]["tokens"] == tokens


def test_one_message_gets_one_answer_and_the_way_to_go_on(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    streaming(bench, "chat", told("chat", reply("Yes."), "Yes", "."))
    arguments = [
        "--message",
        "Are you?",
        "--system",
        "Be brief.",
        "--max-new-tokens",
        "9",
        "--temperature",
        "0",
    ]

    assert bench.run("run", "chat", RUN_ID, *arguments, "--top-p", "0.5", "--seed", "1") == 0

    captured = capsys.readouterr()
    assert captured.out == "Yes.\n"
    assert f"model-trainer run chat {RUN_ID} --conversation {CONVERSATION_ID}" in captured.err
    assert json.loads(bench.api.requests[0].content) == {
        "message": "Are you?",
        "system": "Be brief.",
        "max_new_tokens": 9,
        "temperature": 0,
        "top_p": 0.5,
        "seed": 1,
        "stream": True,
    }


def test_a_conversation_goes_on_line_by_line_until_the_input_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("Are you?\n\n  Since when? \n"))
    streaming(
        bench,
        "chat",
        told("chat", reply("Yes."), "Yes."),
        told("chat", reply("Now.", dropped_turns=2), "Now."),
    )

    assert bench.run("run", "chat", RUN_ID, "--system", "Be brief.") == 0

    captured = capsys.readouterr()
    sent = [json.loads(one.content) for one in bench.api.requests if one.method == "POST"]
    assert captured.out == "Yes.\nNow.\n"
    assert captured.err.count("> ") == 4
    assert "2 turns before were left out" in captured.err
    assert sent == [
        {"message": "Are you?", "system": "Be brief.", "stream": True},
        {"message": "Since when?", "conversation_id": CONVERSATION_ID, "stream": True},
    ]


def test_a_message_that_fails_does_not_lose_the_conversation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Are you?\nSince when?\nWhy?\n"))
    failed = answered("chat", None, status="failed", problem=FAULT)
    streaming(bench, "chat", told("chat", reply("Yes."), "Yes."), told("chat", failed))

    assert bench.run("run", "chat", RUN_ID) == 1

    captured = capsys.readouterr()
    assert "OUT_OF_MEMORY" in captured.err
    assert f"model-trainer run chat {RUN_ID} --conversation {CONVERSATION_ID}" in captured.err


def test_a_conversation_that_never_began_is_not_gone_on_with(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.api.on("POST", f"/runs/{RUN_ID}/chat", problem(422, "CONFIG_INVALID", "There is none."))

    assert bench.run("run", "chat", RUN_ID, "--message", "a", "--conversation", CONVERSATION_ID) == 1

    assert "Go on with" not in capsys.readouterr().err


def test_programs_talk_line_by_line_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Are you?\nSince when?"))
    bench.api.on("POST", f"/runs/{RUN_ID}/chat", reply("Yes."))

    assert bench.run("run", "chat", RUN_ID, "--conversation", CONVERSATION_ID, "--json") == 0

    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [json.loads(line)["result"]["reply"] for line in lines] == ["Yes.", "Yes."]
    assert ">" not in captured.err
    assert [json.loads(one.content) for one in bench.api.requests] == [
        {"message": text, "conversation_id": CONVERSATION_ID} for text in ("Are you?", "Since when?")
    ]


def test_a_conversation_without_a_word_asks_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    assert bench.run("run", "chat", RUN_ID) == 0

    assert bench.api.requests == []
    assert capsys.readouterr().err == ""
