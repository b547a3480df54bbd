"""Large files sent to a data bank in parts, over wires and servers that break off."""

import json
from pathlib import Path

import httpx
import pytest

from model_trainer.core.errors import ErrorCode
from model_trainer.infra.storage.stores.databank import ONE_REQUEST_BYTES, PART_BYTES
from model_trainer.infra.storage.stores.databank_wire import MOST_TRIES
from tests.contract.artifact_stores import digest_of
from tests.unit.infra.storage.stores.databank_server import (
    ABSENT,
    PLACE,
    UPLOAD_ID,
    Answer,
    Server,
    drained,
    fault_of,
    gone,
    large,
    problem,
    there,
    view,
)


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
