"""A log line is an event with declared fields, on one pipe, without secrets."""

import io
import json
import logging
from pathlib import Path

import pytest

from model_trainer.core.logging import bind_context, configure_logging, get_logger, log_also_to
from model_trainer.core.logging.setup import LONGEST_VALUE, redact

log = get_logger("model_trainer.tests")
BOT_TOKEN = f"{'MTIzNDU2' * 3}.Gabcde.{'Zq9-_' * 7}"
"""Of the shape that Discord's have."""


class Pipe:
    """Logging set up over a text buffer."""

    def __init__(
        self,
        *,
        level: str = "INFO",
        readable: bool = False,
        log_file: Path | None = None,
        quiet: bool = False,
    ) -> None:
        self.stream = io.StringIO()
        configure_logging(
            service="model-trainer-test",
            level=level,
            readable=readable,
            stream=self.stream,
            log_file=log_file,
            quiet=quiet,
        )

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line, parse_constant=pytest.fail) for line in self.text.splitlines()]

    @property
    def line(self) -> dict[str, object]:
        (line,) = self.lines
        return line


def test_a_quiet_pipe_says_what_went_wrong_in_a_sentence_and_files_have_it_all(tmp_path: Path) -> None:
    pipe = Pipe(readable=True, quiet=True, log_file=tmp_path / "all.jsonl")
    log.info("all_is_well")
    log.warning("checkpoint_rejected", step=3)
    try:
        raise ValueError("bad \x1b[31m number")
    except ValueError as error:
        log.error("job_failed", detail=str(error))
    assert pipe.text == "warning: checkpoint_rejected\nerror: job_failed: bad \\x1b[31m number\n"
    kept = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line["event"] for line in kept] == ["all_is_well", "checkpoint_rejected", "job_failed"]
    assert "Traceback" in kept[-1]["exception"]


def test_a_json_line_has_its_fields_and_those_of_every_line() -> None:
    pipe = Pipe()

    log.info("run_started", run_id="R1", loss=0.5, step=3)

    line = pipe.line
    assert str(line.pop("timestamp")).endswith("Z")
    assert len(str(line.pop("instance_id"))) == 26
    assert line == {
        "level": "info",
        "logger": "model_trainer.tests",
        "message": "run_started",
        "event": "run_started",
        "service": "model-trainer-test",
        "category": "app",
        "run_id": "R1",
        "loss": 0.5,
        "step": 3,
    }


def test_each_level_has_its_method_and_lower_ones_are_left_out() -> None:
    pipe = Pipe(level="WARNING")

    log.debug("a_detail")
    log.info("some_news")
    log.warning("look_at_this")
    log.error("a_failure")

    assert [(line["level"], line["event"]) for line in pipe.lines] == [
        ("warning", "look_at_this"),
        ("error", "a_failure"),
    ]


def test_debug_lines_show_when_asked_for() -> None:
    pipe = Pipe(level="DEBUG")

    log.debug("a_detail", category="test")

    assert (pipe.line["level"], pipe.line["category"]) == ("debug", "test")


def test_an_error_carries_the_stack_of_the_exception_at_hand() -> None:
    pipe = Pipe()

    try:
        raise ValueError("wrong, api_key=hunter2")
    except ValueError:
        log.error("job_failed", run_id="R1")

    exception = str(pipe.line["exception"])
    assert exception.startswith("Traceback")
    assert "ValueError: wrong" in exception
    assert "hunter2" not in exception


def test_an_error_without_an_exception_has_no_stack() -> None:
    pipe = Pipe()

    log.error("job_failed")

    assert "exception" not in pipe.line


def test_bound_fields_are_on_every_line_inside_and_on_none_outside() -> None:
    pipe = Pipe()

    with bind_context(run_id="R1", request_id="Q1"):
        log.info("inside")
        logging.getLogger("library").warning("inside too")
    log.info("outside")

    assert [line.get("run_id") for line in pipe.lines] == ["R1", "R1", None]


def test_libraries_speak_from_warning_on_whatever_they_set_themselves() -> None:
    pipe = Pipe(level="DEBUG")
    library = logging.getLogger("chatty.library")
    library.setLevel(logging.DEBUG)

    library.debug("detail")
    library.info("news")
    library.warning("Disk of %s is slow", "host")

    line = pipe.line
    assert line["message"] == "Disk of host is slow"
    assert line["event"] == "library_message"
    assert (line["logger"], line["level"]) == ("chatty.library", "warning")
    assert line["service"] == "model-trainer-test"


def test_a_librarys_stack_is_kept() -> None:
    pipe = Pipe()

    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("library").exception("Something broke")

    assert "KeyError: 'lost'" in str(pipe.line["exception"])


def test_people_get_text_with_the_same_facts() -> None:
    pipe = Pipe(readable=True)

    log.info("run_started", run_id="R1")
    try:
        raise ValueError("wrong")
    except ValueError:
        log.error("job_failed")

    first, *rest = pipe.text.splitlines()
    assert "run_started" in first
    assert "run_id=R1" in first
    assert any(line.startswith("ValueError: wrong") for line in rest)


def test_a_stranger_cannot_forge_a_line_or_steer_a_terminal() -> None:
    readable, as_json = "", ""
    forged = "x\r\n2026-01-01 [info] run_completed \x1b]0;title\x07 \u2028 \ud800"
    for is_readable in (True, False):
        pipe = Pipe(readable=is_readable)
        log.info("request_received", path=forged)
        logging.getLogger("library").warning(forged)
        readable, as_json = (pipe.text, as_json) if is_readable else (readable, pipe.text)

    for text in (readable, as_json):
        assert text.count("\n") == 2
        assert not set(text) & {"\x1b", "\r", "\x07", "\u2028", "\ud800"}
    assert json.loads(as_json.splitlines()[0])["path"] == forged


def test_numbers_that_json_does_not_know_are_written_as_text() -> None:
    pipe = Pipe()

    log.warning("loss_diverged", loss=float("nan"), learning_rate=float("inf"), perplexity=1e300)

    assert (pipe.line["loss"], pipe.line["learning_rate"], pipe.line["perplexity"]) == ("nan", "inf", 1e300)


def test_an_endless_value_is_cut() -> None:
    pipe = Pipe()

    log.info("request_received", path="x" * LONGEST_VALUE, detail="y" * (LONGEST_VALUE + 5))

    assert pipe.line["path"] == "x" * LONGEST_VALUE
    assert str(pipe.line["detail"]).endswith("y... (5 more characters)")


def test_a_log_file_gets_json_also_where_people_get_text(tmp_path: Path) -> None:
    log_file = tmp_path / "logs" / "api.jsonl"
    pipe = Pipe(readable=True, log_file=log_file)

    log.info("api_started", detail="token=hunter2")
    Pipe()
    log.info("goes_elsewhere")

    (line,) = [json.loads(line) for line in log_file.read_text().splitlines()]
    assert (line["event"], line["detail"]) == ("api_started", "token=[redacted]")
    assert "api_started" in pipe.text


def test_a_log_file_that_was_rotated_away_is_made_anew(tmp_path: Path) -> None:
    log_file = tmp_path / "api.jsonl"
    Pipe(log_file=log_file)

    log.info("before")
    log_file.rename(tmp_path / "api.jsonl.1")
    log.info("after")

    assert json.loads((tmp_path / "api.jsonl.1").read_text())["event"] == "before"
    assert json.loads(log_file.read_text())["event"] == "after"


def test_a_log_folder_that_was_taken_away_costs_lines_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_file = tmp_path / "logs" / "api.jsonl"
    pipe = Pipe(log_file=log_file)

    log_file.parent.rename(tmp_path / "gone")
    log.info("into_nothing")
    log_file.parent.mkdir()
    log.info("there_again")

    assert "FileNotFoundError" in capsys.readouterr().err
    assert [line["event"] for line in pipe.lines] == ["into_nothing", "there_again"]
    assert json.loads(log_file.read_text())["event"] == "there_again"


def test_a_runs_own_log_gets_what_is_logged_meanwhile(tmp_path: Path) -> None:
    pipe = Pipe()
    path = tmp_path / "R1" / "logs.jsonl"

    log.info("before")
    with log_also_to(path, service="model-trainer-worker"):
        log.info("inside", run_id="R1")
        logging.getLogger("library").warning("also inside")
    log.info("after")

    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["message"] for line in written] == ["inside", "also inside"]
    assert [line["message"] for line in pipe.lines] == ["before", "inside", "also inside", "after"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:hunter2@host:6379/0", "redis://user:[redacted]@host:6379/0"),
        ("at rediss://:hunter2@host and back", "at rediss://:[redacted]@host and back"),
        ("redis://u:hun@ter2@host", "redis://u:[redacted]@host"),
        ("X-Api-Key: hunter2", "X-Api-Key: [redacted]"),
        ("{'x-api-key': 'hunter2', 'a': 'b'}", "{'x-api-key': '[redacted]', 'a': 'b'}"),
        ('{"api_key": "hunter2"}', '{"api_key": "[redacted]"}'),
        ("SECURITY__API_KEY=hunter2 and more", "SECURITY__API_KEY=[redacted] and more"),
        ("/events?token=hunter2&after=3", "/events?token=[redacted]&after=3"),
        ("HF_TOKEN: hunter2", "HF_TOKEN: [redacted]"),
        ("password = hunter2", "password = [redacted]"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: [redacted]"),
        ("Authorization: Basic hunter2", "Authorization: [redacted]"),
        ("sent Bearer hunter2hunter2", "sent Bearer [redacted]"),
        (f"Authorization: Bot {BOT_TOKEN}", "Authorization: [redacted]"),
        ("{'Authorization': 'Bot hunter2'}", "{'Authorization': '[redacted]'}"),
        (f"refused: {BOT_TOKEN}.", "refused: [redacted]."),
        (f"discord_token: {BOT_TOKEN[:-30]}", "discord_token: [redacted]"),
        (
            "PATCH https://discord.com/api/v10/webhooks/123/aW50ZXI-cmFjdGlvbg_x/messages/@original?a=1",
            "PATCH https://discord.com/api/v10/webhooks/123/[redacted]/messages/@original?a=1",
        ),
        ("POST /interactions/123/aW50ZXI/callback", "POST /interactions/123/[redacted]/callback"),
        (
            "model_trainer.discord_bot.notifications.notifier is fine",
            "model_trainer.discord_bot.notifications.notifier is fine",
        ),
        ("/channels/123/messages/456", "/channels/123/messages/456"),
        ("an unknown token: <pad>, 12 tokens: fine", "an unknown token: <pad>, 12 tokens: fine"),
        ("http://localhost:8000/runs?user=a@b", "http://localhost:8000/runs?user=a@b"),
        ("tokens_per_second=12", "tokens_per_second=12"),
    ],
)
def test_secrets_are_masked_and_nothing_else(text: str, shown: str) -> None:
    assert redact(text) == shown
