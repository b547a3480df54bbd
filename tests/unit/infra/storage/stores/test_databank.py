"""The databank store before a server that does what a test wants."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from model_trainer.core.config.settings import DatabankSettings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.stores.databank import ONE_REQUEST_BYTES, PART_BYTES, DatabankStore
from model_trainer.infra.storage.stores.databank_wire import MOST_TRIES, DatabankWire
from tests.contract.artifact_stores import digest_of, write

ABSENT = "0" * 64
KEY = "correct-horse"
UPLOAD_ID = "01J00000000000000000000000"
PLACE = f"/files/uploads/{UPLOAD_ID}"
STORED_AT = "2026-01-02T03:04:05.678Z"
STORED_AT_MS = 1_767_323_045_678

Answer = httpx.Response | Exception
Handler = Callable[[httpx.Request], Answer]


class Server:
    """Answers with the script, and remembers what it was asked; the last answer is given for ever."""

    def __init__(self, *script: Answer | Handler) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, str]] = []
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path))
        self.requests.append(request)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def store(self) -> DatabankStore:
        """Speaks to it."""
        settings = DatabankSettings(url="http://databank.test/api", api_key=SecretStr(KEY))
        transport = httpx.MockTransport(self)
        return DatabankStore(
            DatabankWire(settings, timeout_seconds=7.0, transport=transport, sleep=self.pauses.append)
        )


def there(file_id: str, num_bytes: int) -> httpx.Response:
    headers = {"Content-Length": str(num_bytes), "X-Stored-At-Ms": str(STORED_AT_MS)}
    return httpx.Response(200, headers=headers)


def view(file_id: str, num_bytes: int, *, status: int = 201) -> httpx.Response:
    body = {"file_id": file_id, "num_bytes": num_bytes, "stored_at": STORED_AT, "more": "than we know"}
    return httpx.Response(status, json=body)


def problem(status: int, code: str, message: str = "so it says") -> httpx.Response:
    return httpx.Response(status, json={"code": code, "message": message, "request_id": "r-1"})


def gone() -> httpx.Response:
    return httpx.Response(404)


def drained(answer: httpx.Response) -> Handler:
    """Reads the body, as a server would, and answers."""

    def handle(request: httpx.Request) -> httpx.Response:
        request.read()
        return answer

    return handle


def fault_of(action: Callable[[], object]) -> AppError:
    with pytest.raises(AppError) as caught:
        action()
    return caught.value


def large(tmp_path: Path, num_bytes: int) -> tuple[Path, str, int]:
    return write(tmp_path / "large", os.urandom(1000) * (num_bytes // 1000) + bytes(num_bytes % 1000))


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


class Bank:
    """The resumable half of the protocol, in a few lines."""

    def __init__(self, *, breaks_after: int | None = None) -> None:
        self.data = bytearray()
        self.announced: dict[str, object] = {}
        self.parts: list[tuple[int, int]] = []
        self.breaks_after = breaks_after
        """The first part breaks off after so many bytes."""
        self.faults: dict[tuple[str, str], list[Answer | None]] = {}
        """Answers that are given before it works again; None: it works this time."""
        self.complete_is_lost = False
        self.is_stored = False
        self.num_begun = 0
        self.is_given_up = False

    def __call__(self, request: httpx.Request) -> Answer:
        path = request.url.path.removeprefix("/api")
        waiting = self.faults.get((request.method, path))
        fault = waiting.pop(0) if waiting else None
        if fault is not None:
            return fault
        match request.method, path:
            case "POST", "/files/uploads":
                self.announced = json.loads(request.content)
                self.data.clear()
                self.num_begun += 1
                return httpx.Response(201, json={"upload_id": UPLOAD_ID, "offset": 0})
            case "PATCH", _:
                return self._append(request)
            case "DELETE", place if place == PLACE:
                self.is_given_up = True
                return httpx.Response(204)
            case "HEAD", place if place == PLACE:
                return httpx.Response(200, headers={"Upload-Offset": str(len(self.data))})
            case "POST", place if place == f"{PLACE}/complete":
                if self.is_stored:
                    return problem(404, "FILE_NOT_FOUND")
                self.is_stored = True
                if self.complete_is_lost:
                    return httpx.ReadTimeout("too late")
                return view(digest_of(bytes(self.data)), len(self.data))
            case _:
                file_id = str(self.announced.get("sha256"))
                return there(file_id, len(self.data)) if self.is_stored else gone()

    def _append(self, request: httpx.Request) -> Answer:
        offset = int(request.headers["upload-offset"])
        if offset != len(self.data):
            return problem(409, "CONFLICT")
        stream = request.stream
        assert isinstance(stream, httpx.SyncByteStream)
        for piece in stream:
            if self.breaks_after is not None and len(self.data) + len(piece) > self.breaks_after:
                self.data += piece[: self.breaks_after - len(self.data)]
                self.breaks_after = None
                return httpx.WriteError("cut")
            self.data += piece
        self.parts.append((offset, len(self.data)))
        assert int(request.headers["content-length"]) == len(self.data) - offset
        return httpx.Response(204, headers={"Upload-Offset": str(len(self.data))})


def test_a_large_file_goes_in_parts(tmp_path: Path) -> None:
    bank = Bank()
    path, file_id, num_bytes = large(tmp_path, PART_BYTES + 5)

    stored = Server(bank).store.put(path, file_id=file_id, num_bytes=num_bytes)

    assert bank.announced == {"num_bytes": num_bytes, "sha256": file_id}
    assert bank.parts == [(0, PART_BYTES), (PART_BYTES, num_bytes)]
    assert digest_of(bytes(bank.data)) == file_id == stored.file_id


def test_the_border_between_one_request_and_parts_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    path, _, _ = large(tmp_path, ONE_REQUEST_BYTES + 1)
    at_once = Server(gone(), drained(view(ABSENT, ONE_REQUEST_BYTES)))

    at_once.store.put(path, file_id=ABSENT, num_bytes=ONE_REQUEST_BYTES)
    in_parts = Server(Bank())
    in_parts.store.put(path, file_id=ABSENT, num_bytes=ONE_REQUEST_BYTES + 1)

    assert at_once.asked[1:] == [("POST", "/api/files")]
    assert ("POST", "/api/files/uploads") in in_parts.asked


def test_an_upload_that_breaks_off_goes_on_where_it_stands(tmp_path: Path) -> None:
    bank = Bank(breaks_after=3_000_001)
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    server = Server(bank)

    server.store.put(path, file_id=file_id, num_bytes=num_bytes)

    assert bank.parts == [(3_000_001, num_bytes)]
    assert digest_of(bytes(bank.data)) == file_id
    assert server.pauses == [0.1]


def test_progress_counts_and_a_standstill_does_not(tmp_path: Path) -> None:
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    bank = Bank()
    bank.faults[("PATCH", PLACE)] = [httpx.WriteError("cut")] * (MOST_TRIES - 1)
    Server(bank).store.put(path, file_id=file_id, num_bytes=num_bytes)
    assert digest_of(bytes(bank.data)) == file_id

    stuck = Bank()
    stuck.faults[("PATCH", PLACE)] = [httpx.WriteError("cut")] * MOST_TRIES
    fault = fault_of(lambda: Server(stuck).store.put(path, file_id=file_id, num_bytes=num_bytes))
    assert fault.code is ErrorCode.STORE_UNAVAILABLE

    slow, cut = Bank(breaks_after=1000), httpx.WriteError("cut")
    slow.faults[("PATCH", PLACE)] = [cut, cut, None, cut, cut, cut]
    server = Server(slow)
    server.store.put(path, file_id=file_id, num_bytes=num_bytes)
    assert server.pauses == [0.1, 0.2, 0.4, 0.1, 0.2, 0.4]


def test_a_server_that_has_not_missed_the_lost_connection_yet_is_waited_for(tmp_path: Path) -> None:
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    bank = Bank()
    bank.faults[("PATCH", PLACE)] = [problem(409, "CONFLICT"), problem(409, "CONFLICT")]
    bank.faults[("POST", f"{PLACE}/complete")] = [problem(409, "CONFLICT")]

    Server(bank).store.put(path, file_id=file_id, num_bytes=num_bytes)

    assert digest_of(bytes(bank.data)) == file_id


@pytest.mark.parametrize("answer", [problem(413, "REQUEST_TOO_LARGE"), problem(507, "DISK_FULL")])
def test_a_part_that_is_refused_is_not_tried_again(tmp_path: Path, answer: httpx.Response) -> None:
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    bank = Bank()
    bank.faults[("PATCH", PLACE)] = [answer]
    server = Server(bank)

    fault = fault_of(lambda: server.store.put(path, file_id=file_id, num_bytes=num_bytes))

    assert fault.code.value == json.loads(answer.content)["code"]
    assert server.pauses == []


CUT: Answer = httpx.ReadError("cut")


def test_an_upload_that_a_lost_server_interrupted_is_gone_on_with_by_the_next_put(tmp_path: Path) -> None:
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    bank = Bank(breaks_after=1000)
    bank.faults[("HEAD", PLACE)] = [CUT] * 8  # at once, and when it is put again
    store = Server(bank).store
    for _ in range(2):
        fault = fault_of(lambda: store.put(path, file_id=file_id, num_bytes=num_bytes))
        assert fault.code is ErrorCode.STORE_UNAVAILABLE

    stored = store.put(path, file_id=file_id, num_bytes=num_bytes)

    assert stored.file_id == file_id
    assert (bank.num_begun, bank.is_given_up) == (1, False)
    assert bank.parts == [(1000, num_bytes)]


def test_who_still_waits_for_a_part_that_broke_off_is_gone_on_with_later(tmp_path: Path) -> None:
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    bank = Bank()
    bank.faults[("PATCH", PLACE)] = [problem(409, "CONFLICT")] * 4
    store = Server(bank).store
    fault = fault_of(lambda: store.put(path, file_id=file_id, num_bytes=num_bytes))
    assert fault.code is ErrorCode.STORE_UNAVAILABLE

    store.put(path, file_id=file_id, num_bytes=num_bytes)
    assert (bank.num_begun, bank.is_given_up) == (1, False)


def test_an_interrupted_upload_that_the_server_has_forgotten_begins_anew(tmp_path: Path) -> None:
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    bank = Bank(breaks_after=1000)
    bank.faults[("HEAD", PLACE)] = [*[CUT] * 4, httpx.Response(404)]
    store = Server(bank).store
    fault_of(lambda: store.put(path, file_id=file_id, num_bytes=num_bytes))

    store.put(path, file_id=file_id, num_bytes=num_bytes)

    assert bank.num_begun == 2
    assert bank.parts == [(0, num_bytes)]


@pytest.mark.parametrize("is_there", [True, False])
def test_an_upload_that_is_refused_is_given_up(tmp_path: Path, is_there: bool) -> None:
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    bank = Bank()
    bank.faults[("PATCH", PLACE)] = [problem(507, "DISK_FULL")]
    bank.faults[("DELETE", PLACE)] = [] if is_there else [CUT]
    server = Server(bank)
    store = server.store

    fault = fault_of(lambda: store.put(path, file_id=file_id, num_bytes=num_bytes))

    assert fault.code is ErrorCode.DISK_FULL
    assert server.asked[-1] == ("DELETE", f"/api{PLACE}")
    assert bank.is_given_up is is_there
    store.put(path, file_id=file_id, num_bytes=num_bytes)
    assert bank.num_begun == 2


def test_a_completion_whose_answer_was_lost_is_found_out(tmp_path: Path) -> None:
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    bank = Bank()
    bank.complete_is_lost = True
    server = Server(bank)

    stored = server.store.put(path, file_id=file_id, num_bytes=num_bytes)

    assert (stored.file_id, stored.num_bytes) == (file_id, num_bytes)
    assert server.asked[-1] == ("HEAD", f"/api/files/{file_id}")


def test_an_upload_that_the_server_has_lost_is_no_success(tmp_path: Path) -> None:
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    bank = Bank()
    bank.faults[("POST", f"{PLACE}/complete")] = [problem(404, "FILE_NOT_FOUND")]

    fault = fault_of(lambda: Server(bank).store.put(path, file_id=file_id, num_bytes=num_bytes))

    assert fault.code is ErrorCode.STORE_UNAVAILABLE


def test_an_upload_that_is_lost_on_the_way_is_no_missing_file(tmp_path: Path) -> None:
    path, file_id, num_bytes = large(tmp_path, ONE_REQUEST_BYTES + 5)
    bank = Bank()
    bank.faults[("PATCH", PLACE)] = [problem(404, "FILE_NOT_FOUND")]

    fault = fault_of(lambda: Server(bank).store.put(path, file_id=file_id, num_bytes=num_bytes))

    assert fault.code is ErrorCode.STORE_UNAVAILABLE


def test_the_server_has_time_to_hash_what_has_come(tmp_path: Path) -> None:
    path, file_id, num_bytes = large(tmp_path, 20_000_000)
    server = Server(Bank())

    server.store.put(path, file_id=file_id, num_bytes=num_bytes)

    timeouts = {request.url.path: request.extensions["timeout"] for request in server.requests}
    assert timeouts[f"/api{PLACE}/complete"]["read"] == 8.0
    assert timeouts[f"/api{PLACE}"]["read"] == 7.0


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
