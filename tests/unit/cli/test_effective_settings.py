"""config show: every variable, its source, no secret."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.bench import Bench


def test_each_setting_is_shown_with_its_source(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("RQ__RETRY_MAX=7\nSECURITY__API_KEY=hush-hush\nHF_HOME=\n")
    monkeypatch.setenv("REDIS_URL", "redis://:pa55@redis:6379/0")
    monkeypatch.setenv("STORE__S3__SECRET_ACCESS_KEY", "hush-bucket")
    bench.env["STORE__S3__SECRET_ACCESS_KEY"] = "hush-bucket"
    bench.env["REDIS_URL"] = "redis://:pa55@redis:6379/0"
    assert bench.run("config", "show", "--json") == 0
    out = capsys.readouterr().out
    found = {row["name"]: (row["value"], row["source"]) for row in json.loads(out)}
    assert found["RQ__RETRY_MAX"] == ("7", ".env")
    assert found["RQ__QUEUE_NAME"] == ("training", "default")
    assert found["APP__CLEANUP__ENABLED"] == ("", "default")
    assert found["APP__CLEANUP__VERIFY_UPLOAD"] == ("true", "default")
    assert found["STORE__S3__SECRET_ACCESS_KEY"][1] == "environment"
    assert found["HF_HOME"] == ("", "default")
    assert found["REDIS_URL"][1] == "environment"
    assert found["SECURITY__API_KEY"][1] == ".env"
    assert "hush" not in out
    assert "pa55" not in out
    assert "redis:6379" in found["REDIS_URL"][0]


def test_it_is_a_table_for_people(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("config", "show", "--env-file", "") == 0
    assert "APP__DATA_ROOT" in capsys.readouterr().out
