from pathlib import Path

import pytest

from tests.unit.cli.bench import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """In an empty folder, with none of our variables set, in a wide terminal."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "SECURITY__API_KEY",
        "API_BASE_URL",
        "REDIS_URL",
        "APP__DATA_ROOT",
        "APP__ARTIFACTS_ROOT",
        "DISCORD_TOKEN",
        "DISCORD_OWNER_ID",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return Bench()
