"""The databank store before a server that does what a test wants."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from model_trainer.core.config.settings import DatabankSettings
from model_trainer.core.errors import ErrorCode
from model_trainer.infra.storage.stores.databank import DatabankStore
from model_trainer.infra.storage.stores.databank_wire import MOST_TRIES, DatabankWire
from tests.contract.artifact_stores import digest_of, write
from tests.unit.infra.storage.stores.databank_server import (
    ABSENT,
    KEY,
    STORED_AT,
    STORED_AT_MS,
    Handler,
    Server,
    drained,
    fault_of,
    gone,
    problem,
    there,
    view,
)

FOREIGN = [
    each for each in vars(httpx).values() if isinstance(each, type) and issubclass(each, httpx.RequestError)
]


def test_the_list_of_the_librarys_errors_is_not_empty() -> None:
    assert len(FOREIGN) > 12


CALLS: list[Callable[[DatabankStore, Path], object]] = [
    lambda store, _: store.find(ABSENT),
    lambda store, path: store.put(path, file_id=digest_of(b"hello"), num_bytes=5),
    lambda store, _: list(store.read(ABSENT)),
    lambda store, _: store.delete(ABSENT),
    lambda store, _: store.list_files(limit=3),
    lambda store, _: store.check(),
]


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("call", CALLS)
def test_every_error_of_the_library_is_ours_at_the_edge_after_a_few_tries(
    tmp_path: Path, foreign: type[httpx.RequestError], call: Callable[[DatabankStore, Path], object]
) -> None:
    path, _, _ = write(tmp_path / "source", b"hello")
    server = Server(foreign(f"refused {KEY}"))

    fault = fault_of(lambda: call(server.store, path))

    assert fault.code is ErrorCode.STORE_UNAVAILABLE
    assert "STORE__DATABANK__URL" in fault.message
    assert fault.facts["detail"] == foreign.__name__
    assert KEY not in f"{fault.message} {fault.facts}"
    assert len(server.asked) == MOST_TRIES
    assert server.pauses == [0.1, 0.2, 0.4]


def test_a_fault_that_passes_is_not_noticed() -> None:
    away = problem(503, "STORE_UNAVAILABLE")
    server = Server(httpx.ConnectError("no"), away, httpx.Response(502, text="<html>"), there(ABSENT, 5))

    stored = server.store.find(ABSENT)

    assert stored is not None
    assert (stored.num_bytes, stored.stored_at_ms) == (5, STORED_AT_MS)
    assert server.asked == [("HEAD", f"/api/files/{ABSENT}")] * 4
    assert server.requests[0].headers["x-api-key"] == KEY


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (problem(401, "UNAUTHORIZED"), "HTTP 401 UNAUTHORIZED"),
        (httpx.Response(500, text="oops"), "HTTP 500"),
        (problem(422, "NOBODY_KNOWS_IT"), "HTTP 422"),
        (httpx.Response(200, text="<html>a portal</html>"), "an answer of another kind of server"),
        (httpx.Response(200, json={"data": [{"file_id": 3}]}), "an answer of another kind of server"),
        (httpx.Response(302, headers={"Location": "http://elsewhere.test"}), "HTTP 302"),
    ],
)
def test_a_server_that_does_not_work_with_us_is_told_by_what_it_said(
    answer: httpx.Response, detail: str
) -> None:
    fault = fault_of(Server(answer).store.check)

    assert fault.code is ErrorCode.STORE_UNAVAILABLE
    assert fault.facts["detail"] == detail


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "5"}, {"Content-Length": "5", "X-Stored-At-Ms": "-1"}]
)
def test_a_head_that_does_not_say_enough_is_of_another_kind_of_server(headers: dict[str, str]) -> None:
    fault = fault_of(lambda: Server(httpx.Response(200, headers=headers)).store.find(ABSENT))

    assert fault.code is ErrorCode.STORE_UNAVAILABLE
    assert "x-stored-at-ms" in str(fault.facts["detail"])


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (422, ErrorCode.DIGEST_MISMATCH),
        (413, ErrorCode.REQUEST_TOO_LARGE),
        (507, ErrorCode.DISK_FULL),
    ],
)
def test_what_the_server_refuses_is_told_in_its_own_words(
    tmp_path: Path, status: int, code: ErrorCode
) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    server = Server(gone(), drained(problem(status, code.value, "x" * 5000)))

    fault = fault_of(lambda: server.store.put(path, file_id=file_id, num_bytes=num_bytes))

    assert fault.code is code
    assert fault.message.startswith("The data bank says: xxx")
    assert len(fault.message) < 600
    assert server.pauses == []


def test_a_file_that_the_servers_runs_need_is_not_deleted() -> None:
    server = Server(problem(409, "CONFLICT", "needed by 01J"))

    fault = fault_of(lambda: server.store.delete(ABSENT))

    assert fault.code is ErrorCode.CONFLICT
    assert "needed by 01J" in fault.message


def test_a_small_file_goes_in_one_request_with_its_digest(tmp_path: Path) -> None:
    path, _, _ = write(tmp_path / "source", b"hello, and what came later")
    file_id = digest_of(b"hello")
    server = Server(gone(), drained(view(file_id, 5)))

    stored = server.store.put(path, file_id=file_id, num_bytes=5)

    assert server.asked == [("HEAD", f"/api/files/{file_id}"), ("POST", "/api/files")]
    assert server.requests[1].content == b"hello"
    assert server.requests[1].headers["x-content-sha256"] == file_id
    assert (stored.file_id, stored.num_bytes, stored.stored_at_ms) == (file_id, 5, STORED_AT_MS)


class Body(httpx.SyncByteStream):
    """Some bytes; then, for all but a whole one, the connection is lost."""

    def __init__(self, *pieces: bytes, is_whole: bool) -> None:
        self._pieces = pieces
        self._is_whole = is_whole

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if not self._is_whole:
            raise httpx.ReadError("cut")


def sent(*pieces: bytes, status: int = 206) -> Handler:
    return lambda _: httpx.Response(status, stream=Body(*pieces, is_whole=True))


def cut(*pieces: bytes) -> Handler:
    return lambda _: httpx.Response(206, stream=Body(*pieces, is_whole=False))


def test_a_read_that_breaks_off_goes_on_where_it_stands() -> None:
    server = Server(there(ABSENT, 10), cut(b"012", b"3"), cut(), cut(b"45"), sent(b"6789"))

    assert b"".join(server.store.read(ABSENT)) == b"0123456789"

    ranges = [request.headers["range"] for request in server.requests[1:]]
    assert ranges == ["bytes=0-9", "bytes=4-9", "bytes=4-9", "bytes=6-9"]
    assert server.pauses == [0.1, 0.2, 0.1]
    assert server.requests[1].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("answer", [sent(b"0123456789", status=200), sent(b"0123456789X"), cut()])
def test_what_was_not_asked_for_is_not_handed_on(answer: Handler) -> None:
    server = Server(there(ABSENT, 10), answer)
    come: list[bytes] = []

    fault = fault_of(lambda: come.extend(server.store.read(ABSENT)))

    assert fault.code is ErrorCode.STORE_UNAVAILABLE
    assert come == []


def test_an_answer_that_is_too_short_is_taken_up() -> None:
    server = Server(there(ABSENT, 4), sent(b"01"), sent(b"23"))

    assert b"".join(server.store.read(ABSENT)) == b"0123"
    assert server.pauses == [0.1]


def test_a_file_that_is_deleted_while_it_is_read_is_missed() -> None:
    server = Server(there(ABSENT, 4), cut(b"01"), problem(404, "FILE_NOT_FOUND"))

    fault = fault_of(lambda: list(server.store.read(ABSENT)))

    assert fault.code is ErrorCode.FILE_NOT_FOUND


def test_long_lists_are_asked_for_in_the_servers_pages() -> None:
    ids = [f"{number:064x}" for number in range(1500)]

    def page(request: httpx.Request) -> httpx.Response:
        limit = int(request.url.params["limit"])
        after = request.url.params.get("after", "")
        behind = [each for each in ids if each > after]
        data = [{"file_id": each, "num_bytes": 1, "stored_at": STORED_AT} for each in behind[:limit]]
        return httpx.Response(200, json={"data": data, "has_more": len(behind) > limit})

    server = Server(page)

    listed = server.store.list_files(limit=1200)

    assert [file.file_id for file in listed.files] == ids[:1200]
    assert listed.has_more
    assert [request.url.params["limit"] for request in server.requests] == ["1000", "200"]
    assert len(server.store.list_files(limit=5000).files) == 1500


def test_a_prefix_that_no_id_begins_with_is_not_even_asked_for() -> None:
    server = Server(httpx.Response(500))

    assert server.store.list_files(prefix="xyz", limit=3).files == ()
    assert server.asked == []


@pytest.mark.parametrize(
    ("url", "key"),
    [("databank.test", None), ("ftp://databank.test", None), ("http://databank.test", "schlüssel")],
)
def test_settings_that_cannot_work_are_refused_at_once(url: str, key: str | None) -> None:
    api_key = None if key is None else SecretStr(key)
    settings = DatabankSettings.model_construct(url=url, api_key=api_key)

    fault = fault_of(lambda: DatabankWire(settings, timeout_seconds=1.0))

    assert fault.code is ErrorCode.CONFIG_INVALID
    assert "STORE__DATABANK__" in fault.message


def test_without_a_key_none_is_sent() -> None:
    server = Server(there(ABSENT, 1))
    settings = DatabankSettings(url="http://databank.test")
    transport = httpx.MockTransport(server)

    DatabankStore(DatabankWire(settings, timeout_seconds=1.0, transport=transport)).find(ABSENT)

    assert "x-api-key" not in server.requests[0].headers


def test_a_forked_process_opens_connections_of_its_own() -> None:
    script = """
import os, socketserver, sys, threading
from model_trainer.core.config.settings import DatabankSettings
from model_trainer.infra.storage.stores.databank import DatabankStore
from model_trainer.infra.storage.stores.databank_wire import DatabankWire

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            if line == b"\\r\\n":
                count = f"HTTP/1.1 200 OK\\r\\nContent-Length: {self.client_address[1]}\\r\\nX-Stored-At-Ms: 1\\r\\n\\r\\n"
                self.wfile.write(count.encode())

server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
settings = DatabankSettings(url=f"http://127.0.0.1:{server.server_address[1]}")
store = DatabankStore(DatabankWire(settings, timeout_seconds=5.0))
port = lambda: store.find("0" * 64).num_bytes
mine, again = port(), port()
if os.fork() == 0:
    print(mine == again, port() == mine, flush=True)
    os._exit(0)
os.wait()
print(port() == mine, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "False", "True"]
