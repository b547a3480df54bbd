"""Files on a real server: connections that break, senders that stop, and what is left of it."""

import contextlib
import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.unit.api.servers import Running, hypercorn
from tests.unit.api.service import Service

DATA = bytes(range(256)) * 20_000
HALF = len(DATA) // 2


@dataclass
class Served:
    """A server and its parts."""

    service: Service
    running: Running

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.port}"

    def break_off(self, head: str, body: bytes) -> None:
        """Sends so much, then closes the connection."""
        with socket.create_connection(("127.0.0.1", self.running.port), timeout=20) as wire:
            wire.sendall(f"{head}\r\nHost: localhost\r\nContent-Length: {len(DATA)}\r\n\r\n".encode() + body)

    def arrivals(self) -> list[str]:
        folder = self.service.artifacts.root / "arrivals"
        return [path.name for path in folder.iterdir()] if folder.exists() else []


@pytest.fixture
def served() -> Iterator[Served]:
    service = Service()
    with hypercorn(service) as running:
        yield Served(service, running)


def until(is_so: Callable[[], bool]) -> bool:
    """Whether it comes to be so soon."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.01)
    return False


def test_a_file_whose_connection_breaks_leaves_nothing(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.running.port), timeout=20) as wire:
        head = f"POST /files HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(DATA)}\r\n\r\n"
        wire.sendall(head.encode() + DATA[:HALF])
        assert until(lambda: len(served.arrivals()) == 1)

    assert until(lambda: served.arrivals() == [])
    assert served.service.store.list_files(limit=1).files == ()


def test_a_part_whose_connection_breaks_keeps_what_came_and_goes_on_from_there(served: Served) -> None:
    with httpx.Client(base_url=served.url, timeout=20) as client:
        place = client.post("/files/uploads", json={"num_bytes": len(DATA)}).headers["location"]
        served.break_off(f"PATCH {place} HTTP/1.1\r\nUpload-Offset: 0", DATA[:HALF])

        def stands_at() -> int:
            return int(client.head(place).headers["upload-offset"])

        assert until(lambda: stands_at() == HALF)
        assert until(
            lambda: (
                client.patch(place, content=DATA[HALF:], headers={"Upload-Offset": str(HALF)}).status_code
                == 204
            )
        )
        whole = client.post(f"{place}/complete")

        assert whole.json()["file_id"] == hashlib.sha256(DATA).hexdigest()
        assert client.get(whole.headers["location"]).content == DATA


def test_a_refusal_reaches_who_is_still_sending(served: Served) -> None:
    with httpx.Client(base_url=served.url, timeout=20) as client:
        place = client.post("/files/uploads").headers["location"]
    with socket.create_connection(("127.0.0.1", served.running.port), timeout=20) as wire:
        head = f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: 5\r\nContent-Length: {len(DATA)}\r\n\r\n"
        wire.sendall(head.encode())
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := wire.recv(65536):
                answer += piece

    assert answer.startswith(b"HTTP/1.1 409")
    assert b"upload-offset: 0" in answer.lower()


def test_a_body_that_is_refused_half_way_keeps_no_connection(served: Served) -> None:
    with httpx.Client(base_url=served.url, timeout=20) as client:
        place = client.post("/files/uploads").headers["location"]
    refused = []
    for path, headers in ((place, {"Upload-Offset": "5"}), ("/runs/train", {})):
        with contextlib.suppress(httpx.TransportError):  # who sees the connection closed before the answer
            method = "PATCH" if path == place else "POST"
            refused.append(
                httpx.request(
                    method, served.url + path, content=DATA, headers=headers, timeout=20
                ).status_code
            )
    served.running.stop()

    assert set(refused) <= {409, 413}
    assert served.running.join(5)  # a connection that is stuck is waited for longer


def test_who_leaves_a_download_leaves_the_server_as_it_was(served: Served) -> None:
    with httpx.Client(base_url=served.url, timeout=20) as client:
        place = client.post("/files", content=DATA).headers["location"]
        with client.stream("GET", place) as answer:
            next(answer.iter_raw(10))
        assert client.get(place, headers={"Range": "bytes=-10"}).content == DATA[-10:]
