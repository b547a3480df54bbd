"""Files on their way in while the API is killed: nothing half-stored, and nothing left of what came."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from model_trainer.container import ARRIVALS_FOLDER, UPLOADS_FOLDER
from model_trainer.core.config import load_settings
from model_trainer.maintenance.chores import ARRIVAL_SECONDS
from model_trainer.maintenance.leftovers import LeftoverCleaner
from tests.unit.api.servers import free_port, wait_until_open

pytestmark = pytest.mark.slow

DATA = os.urandom(4 << 20)
HALF = len(DATA) // 2


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An API of its own, without Redis: files need none."""
    port = free_port()
    environment = {**os.environ, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"} | {
        f"APP__{name.upper()}": str(folder / name) for name in ("artifacts_root", "runs_root", "data_root")
    }
    command = [sys.executable, "-m", "model_trainer", "--env-file", "", "serve", "--port", str(port)]
    api = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_open(port)
        yield api, port
    finally:
        api.kill()
        api.wait(20)


def sizes_below(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("data")]


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def cleaned(arrivals: Path, *, seconds_later: float) -> int:
    """What the maintenance process does, at another time of day."""
    policy = load_settings(env_file=None).app.cleanup.model_copy(
        update={"grace_period_seconds": ARRIVAL_SECONDS}
    )
    return LeftoverCleaner(
        roots=(), passing=(arrivals,), policy=policy, now=lambda: time.time() + seconds_later
    ).clean()


def test_an_api_killed_while_a_file_comes_stores_nothing_and_what_came_goes_within_a_minute(
    tmp_path: Path,
) -> None:
    arrivals = tmp_path / "artifacts_root" / ARRIVALS_FOLDER
    with serving(tmp_path) as (api, port), socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        head = f"POST /files HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(DATA)}\r\n\r\n"
        wire.sendall(head.encode() + DATA[:HALF])
        until(lambda: bool(sizes_below(arrivals)) and sizes_below(arrivals)[0] > 0)
        assert cleaned(arrivals, seconds_later=3600) == 0, "while it comes it is locked"
        api.send_signal(signal.SIGKILL)
        api.wait(20)

    assert len(sizes_below(arrivals)) == 1
    assert cleaned(arrivals, seconds_later=ARRIVAL_SECONDS + 1) == 1
    assert list(arrivals.iterdir()) == []
    with serving(tmp_path) as (_, port):
        assert httpx.get(f"http://127.0.0.1:{port}/files").json()["data"] == []


def test_an_api_killed_while_a_part_comes_goes_on_from_what_came(tmp_path: Path) -> None:
    uploads = tmp_path / "artifacts_root" / UPLOADS_FOLDER
    file_id = hashlib.sha256(DATA).hexdigest()
    with serving(tmp_path) as (api, port):
        begun = httpx.post(
            f"http://127.0.0.1:{port}/files/uploads", json={"num_bytes": len(DATA), "sha256": file_id}
        )
        place = begun.headers["location"]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            head = (
                f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: 0\r\n"
                f"Content-Length: {len(DATA)}\r\n\r\n"
            )
            wire.sendall(head.encode() + DATA[:HALF])
            until(lambda: sizes_below(uploads)[0] > 0)
            api.send_signal(signal.SIGKILL)
            api.wait(20)

    with serving(tmp_path) as (_, port), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        offset = int(client.head(place).headers["upload-offset"])
        assert 0 < offset <= HALF
        sent = client.patch(place, content=DATA[offset:], headers={"Upload-Offset": str(offset)})
        assert sent.status_code == 204
        assert client.post(f"{place}/complete").json()["file_id"] == file_id
        assert client.get(f"/files/{file_id}").content == DATA
