"""`model-trainer file ...`: files go up, are shown with the reference that a request takes, come down, go away."""

import hashlib
import json
import shlex
from pathlib import Path

import httpx
import pytest

from model_trainer.client.files import AT_ONCE_BYTES
from tests.unit.cli.bench import Bench
from tests.unit.client.fake_api import page, problem

DATA = b"text to learn from\n"
FILE_ID = hashlib.sha256(DATA).hexdigest()
UPLOAD_ID = "01JD0000000000000000000009"
VIEW: dict[str, object] = {
    "file_id": FILE_ID,
    "num_bytes": 1234567,
    "stored_at": "2026-11-21T01:02:03.123Z",
    "reference": f"sha256:{FILE_ID}.txt",
}


def test_files_are_uploaded_and_their_references_shown(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(DATA)
    bench.api.on("POST", "/files", httpx.Response(201, json=VIEW))

    assert bench.run("file", "upload", "a.txt", "b.txt") == 0
    shown = capsys.readouterr()
    assert f"sha256:{FILE_ID}.txt" in shown.out
    assert "1,234,567" in shown.out
    assert shown.err.split() == ["a.txt", "b.txt"]
    assert [request.content for request in bench.api.requests] == [DATA, DATA]


def test_a_large_file_is_sent_with_a_word_on_how_to_go_on_and_goes_on_with_it(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = b"x" * (AT_ONCE_BYTES + 1)
    (tmp_path / "my news.txt").write_bytes(data)
    place = f"/files/uploads/{UPLOAD_ID}"
    bench.api.on("GET", "/files", page()).on("POST", "/files/uploads", {"upload_id": UPLOAD_ID, "offset": 0})
    bench.api.on("PATCH", place, problem(507, "DISK_FULL", "Full."), httpx.Response(204))

    assert bench.run("file", "upload", "my news.txt") == 1
    told = capsys.readouterr().err
    command = f"model-trainer file upload --resume {UPLOAD_ID} 'my news.txt'"
    assert command in told

    bench.api.on("GET", place, {"upload_id": UPLOAD_ID, "offset": len(data) - 1}, _all_there(data))
    bench.api.on("POST", f"{place}/complete", httpx.Response(201, json=VIEW))
    assert bench.run(*shlex.split(command)[1:]) == 0
    assert f"sha256:{FILE_ID}.txt" in capsys.readouterr().out


def _all_there(data: bytes) -> dict[str, object]:
    return {"upload_id": UPLOAD_ID, "offset": len(data)}


def test_one_upload_is_of_one_file(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("file", "upload", "--resume", UPLOAD_ID, "a.txt", "b.txt") == 1
    assert "--resume" in capsys.readouterr().err
    assert bench.api.requests == []


def test_a_file_that_is_not_there_is_said_to_be_missing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run("file", "upload", "nowhere.txt") == 1
    assert "nowhere.txt" in capsys.readouterr().err


def test_files_are_listed_as_json_for_programs(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("GET", "/files", page(VIEW, VIEW, VIEW))

    assert bench.run("file", "list", "--prefix", "ab", "--limit", "2", "--json") == 0
    assert [file["file_id"] for file in json.loads(capsys.readouterr().out)] == [FILE_ID] * 2
    assert dict(bench.api.requests[0].url.params) == {"limit": "2", "prefix": "ab"}


def test_one_file_is_shown(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("GET", "/files", page(VIEW))

    assert bench.run("file", "show", FILE_ID) == 0
    out = capsys.readouterr().out
    assert f"sha256:{FILE_ID}" in out
    assert "2026-11-21 01:02:03" in out


def test_a_file_is_fetched_under_its_id_or_another_name(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.api.on("GET", f"/files/{FILE_ID}", lambda _request: httpx.Response(200, content=DATA))

    assert bench.run("file", "get", FILE_ID) == 0
    assert bench.run("file", "get", FILE_ID, "-o", "news.txt") == 0
    assert (tmp_path / FILE_ID).read_bytes() == (tmp_path / "news.txt").read_bytes() == DATA
    assert FILE_ID[:16] in capsys.readouterr().out


def test_a_file_is_deleted_unless_runs_need_it(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    needed = problem(409, "CONFLICT", "Runs need it.")
    bench.api.on("DELETE", f"/files/{FILE_ID}", httpx.Response(204), needed)

    assert bench.run("file", "delete", FILE_ID) == 0
    assert "has gone" in capsys.readouterr().out
    assert bench.run("file", "delete", FILE_ID) == 1
    assert "Runs need it." in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["show", "get", "delete"])
def test_what_is_no_id_is_not_asked_for(bench: Bench, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("file", verb, "../../etc/passwd") == 1
    assert "64 hexadecimal digits" in capsys.readouterr().err
    assert bench.api.requests == []
