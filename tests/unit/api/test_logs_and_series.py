"""A run's log from its end, and its series joined from two files."""

import json
import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from model_trainer.api import log_reader
from model_trainer.api.log_reader import LogFile
from model_trainer.api.series_reader import series_document, series_rows
from model_trainer.core.contracts.ids import new_ulid
from tests.unit.api.orders import tokenizer, training
from tests.unit.api.service import Service

LONG = "x" * log_reader.BLOCK_BYTES


def written(tmp_path: Path, content: bytes) -> LogFile:
    """A log with this content."""
    path = tmp_path / "logs.jsonl"
    path.write_bytes(content)
    return LogFile(path)


def tail(log: LogFile, num_lines: int) -> list[object]:
    """What the last lines say."""
    return [line.content["message"] for line in log.lines_after(log.tail_offset(num_lines))]


def lines(*messages: str) -> bytes:
    """A log that says this."""
    return b"".join(json.dumps({"message": message}).encode() + b"\n" for message in messages)


def test_the_tail_is_the_last_whole_lines(tmp_path: Path) -> None:
    log = written(tmp_path, lines("a", "b", "c") + b'{"message": "torn')

    assert tail(log, 2) == ["b", "c"]
    assert tail(log, 3) == ["a", "b", "c"]
    assert tail(log, 99) == ["a", "b", "c"]
    assert tail(log, 0) == []


def test_the_tail_of_nothing_is_nothing(tmp_path: Path) -> None:
    for log in (LogFile(None), written(tmp_path, b""), written(tmp_path, b"torn")):
        assert tail(log, 5) == []


def test_the_tail_crosses_blocks(tmp_path: Path) -> None:
    log = written(tmp_path, lines("a", LONG, LONG, "d"))

    assert [str(message)[:1] for message in tail(log, 3)] == ["x", "x", "d"]
    assert len(tail(log, 9)) == 4


def test_reading_goes_no_further_back_than_its_bound(tmp_path: Path) -> None:
    line = lines("y" * 100_000)
    log = written(tmp_path, line * (log_reader.MAX_READ_BYTES // len(line) + 10))

    offset = log.tail_offset(10_000)

    assert offset > 0
    assert offset % len(line) == 0


def test_lines_behind_an_offset_come_with_the_offset_behind_them(tmp_path: Path) -> None:
    content = lines("a", "b")
    log = written(tmp_path, content)
    first = len(lines("a"))

    assert [line.next_offset for line in log.lines_after(0)] == [first, len(content)]
    assert [line.content["message"] for line in log.lines_after(first)] == ["b"]
    assert [line.content["message"] for line in log.lines_after(first - 3)] == ["b"]
    assert log.lines_after(len(content)) == ()
    assert log.lines_after(10**15) == ()


def test_what_is_no_json_object_is_shown_as_text(tmp_path: Path) -> None:
    log = written(tmp_path, b"plain \xff\n[1]\n")

    assert tail(log, 9) == ["plain �", "[1]"]


def test_of_an_endless_line_the_beginning_is_shown(tmp_path: Path) -> None:
    log = written(tmp_path, b"z" * (log_reader.MAX_LINE_BYTES + 1) + b"\n" + lines("after"))

    first, second = tail(log, 9)
    assert (len(str(first)), second) == (log_reader.MAX_LINE_BYTES, "after")

    huge = written(tmp_path, b"z" * (log_reader.MAX_READ_BYTES + 5) + b"\n" + lines("after"))
    (beginning,) = huge.lines_after(0)
    assert len(str(beginning.content["message"])) == log_reader.MAX_LINE_BYTES
    assert [line.content["message"] for line in huge.lines_after(beginning.next_offset)] == ["after"]


def test_the_log_of_a_training_is_served(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    assert client.get(f"/runs/{run_id}/logs").json() == {"run_id": run_id, "data": [], "next_offset": 0}
    content = lines("a", "b", "c")
    service.write("models", run_id, "logs.jsonl", content)

    answer = client.get(f"/runs/{run_id}/logs", params={"tail": 2}).json()

    assert answer == {
        "run_id": run_id,
        "data": [{"message": "b"}, {"message": "c"}],
        "next_offset": len(content),
    }


def test_tokenizers_and_evaluations_have_logs_too(client: TestClient, service: Service) -> None:
    made = tokenizer(client, service)
    run_id = training(client, service)
    service.finished(run_id)
    evaluation = client.post(f"/runs/{run_id}/evaluate", json={"split": "train"}).json()["run_id"]
    service.write("tokenizers", made, "logs.jsonl", lines("t"))
    service.write("models", run_id, f"eval/{evaluation}/logs.jsonl", lines("e"))

    assert client.get(f"/runs/{made}/logs").json()["data"] == [{"message": "t"}]
    assert client.get(f"/runs/{evaluation}/logs").json()["data"] == [{"message": "e"}]


@pytest.mark.parametrize("query", ["tail=-1", "tail=10001", "tail=x", "head=1"])
def test_a_tail_that_does_not_fit_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/runs/{new_ulid()}/logs?{query}").status_code == 422


def rows(*steps: int, **values: float) -> bytes:
    """A file of rows."""
    return b"".join(json.dumps({"step": step, **values}).encode() + b"\n" for step in steps)


def test_the_series_joins_metrics_and_timings_by_step(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    assert client.get(f"/runs/{run_id}/metrics").json() == {"run_id": run_id, "data": []}
    service.write("models", run_id, "metrics.jsonl", rows(1, 2, 2, 5, loss=1.5) + b'{"step": 6, "lo')
    service.write("models", run_id, "timings.jsonl", rows(1, 2, 3, 5, seconds=0.5))

    data = client.get(f"/runs/{run_id}/metrics").json()["data"]

    assert [row["step"] for row in data] == [1, 2, 2, 5]
    assert [row["timings"] for row in data] == [{"seconds": 0.5}, {"seconds": 0.5}, {}, {"seconds": 0.5}]
    assert data[0]["metrics"] == {"loss": 1.5}


def test_rows_that_say_no_step_and_values_that_are_null_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"loss": 1}\n{"step": 3, "loss": null, "x": 1}\nnot json\n')

    assert [(row.step, row.metrics) for row in series_rows(path, None)] == [(3, {"x": 1.0})]


def test_a_long_series_leaves_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(rows(*range(3000), loss=0.25))

    pieces = list(series_document("R", series_rows(path, None)))

    assert len(pieces) > 1
    assert len(json.loads(b"".join(pieces))["data"]) == 3000


def test_only_a_training_has_a_series(client: TestClient, service: Service) -> None:
    assert client.get(f"/runs/{tokenizer(client, service)}/metrics").status_code == 404


def bytes_read() -> int:
    """What this process has read so far, by the kernel's count."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
    return int(counts["rchar"])


@pytest.mark.parametrize("num_lines", [2, 10_000])
def test_the_tail_of_a_huge_log_reads_only_the_tail(tmp_path: Path, num_lines: int) -> None:
    path = tmp_path / "logs.jsonl"
    path.touch()
    os.truncate(path, 10 << 30)
    with path.open("ab") as file:
        file.write(b"\n" + b'{"n":1}\n{"n":2}\n{"n":3}\n')
    before = bytes_read()

    log = LogFile(path)
    lines = log.lines_after(log.tail_offset(num_lines))

    assert [line.content for line in lines][-2:] == [{"n": 2}, {"n": 3}]
    assert len(lines) <= num_lines
    assert bytes_read() - before < 16 << 20
