"""Files of an artifact: listed, fetched, verified."""

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from tests.unit.cli.bench import Bench
from tests.unit.client.fake_api import RUN_ID

WEIGHTS = b"weights"
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()


def listing(*paths: str) -> dict[str, object]:
    files = [{"path": path, "num_bytes": len(WEIGHTS), "sha256": DIGEST} for path in paths]
    return {
        "kind": "models",
        "item_id": RUN_ID,
        "status": "completed",
        "files": files,
        "manifest": None,
        "links": {},
    }


@pytest.fixture
def stocked(bench: Bench) -> Bench:
    bench.api.on(
        "GET",
        f"/artifacts/models/{RUN_ID}",
        listing("model.safetensors", "eval/metrics.json", "checkpoints/step-1/a"),
    )
    bench.api.on(
        "GET", f"/artifacts/models/{RUN_ID}/download", lambda _r: httpx.Response(200, content=WEIGHTS)
    )
    return bench


def test_files_are_listed(stocked: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert stocked.run("artifact", "list", "models", RUN_ID) == 0
    out = capsys.readouterr().out
    assert "model.safetensors" in out
    assert DIGEST[:16] in out


def test_all_but_checkpoints_are_fetched(
    stocked: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stocked.run("artifact", "get", "models", RUN_ID) == 0
    assert (tmp_path / RUN_ID / "model.safetensors").read_bytes() == WEIGHTS
    assert (tmp_path / RUN_ID / "eval" / "metrics.json").read_bytes() == WEIGHTS
    assert not (tmp_path / RUN_ID / "checkpoints").exists()
    assert DIGEST[:16] in capsys.readouterr().out


def test_named_files_go_where_they_should(
    stocked: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        stocked.run("artifact", "get", "models", RUN_ID, "checkpoints/step-1/a", "-o", "out", "--json") == 0
    )
    assert (tmp_path / "out" / "checkpoints" / "step-1" / "a").is_file()
    assert json.loads(capsys.readouterr().out)[0]["sha256"] == DIGEST


def test_a_file_that_is_not_there_is_named(stocked: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert stocked.run("artifact", "get", "models", RUN_ID, "nope.bin") == 1
    assert "error ARTIFACT_NOT_FOUND: There is no nope.bin" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "c:\\x", "d:evil", ""])
def test_a_server_cannot_write_outside_the_folder(
    bench: Bench, tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.api.on("GET", f"/artifacts/models/{RUN_ID}", listing(path))
    assert bench.run("artifact", "get", "models", RUN_ID) == 1
    assert "leads out of" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_there_are_two_kinds(bench: Bench) -> None:
    assert bench.run("artifact", "list", "secrets", RUN_ID) == 2
