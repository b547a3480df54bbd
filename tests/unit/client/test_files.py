"""Files of the store from a client's side: sent, over lines that break; listed, fetched, removed."""

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from model_trainer.client.files import Files
from model_trainer.client.http import Endpoint, HttpConnection
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.client.fake_api import FakeApi, page, problem

DATA = bytes(range(256)) * 4
FILE_ID = hashlib.sha256(DATA).hexdigest()
UPLOAD_ID = "01JD0000000000000000000009"
PLACE = f"/files/uploads/{UPLOAD_ID}"
AWAY = httpx.ConnectError("down")


def view(suffix: str = "") -> dict[str, object]:
    return {
        "file_id": FILE_ID,
        "num_bytes": len(DATA),
        "stored_at": "2026-11-21T01:02:03.123Z",
        "reference": f"sha256:{FILE_ID}{suffix}",
        "links": {},
    }


def stands_at(offset: int) -> dict[str, object]:
    return {"upload_id": UPLOAD_ID, "offset": offset, "num_bytes": len(DATA), "links": {}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "my news.JSONL"
    path.write_bytes(DATA)
    return path


class Sender:
    """Takes parts: as many bytes as it is told, then the line breaks; without a number, all that come."""

    def __init__(self, *take: int | None) -> None:
        self.has = b""
        self._take = list(take)

    def part(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["upload-offset"] == str(len(self.has))
        body, take = request.read(), self._take.pop(0)
        self.has += body[:take]
        if take is not None:
            raise httpx.WriteError("the line is dead")
        return httpx.Response(204)

    def look(self, _request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=stands_at(len(self.has)))


def large(
    api: FakeApi,
    source: Path,
    *,
    resume: str | None = None,
    begun: Callable[[str], None] | None = None,
    at_once_bytes: int = 100,
) -> str:
    """Sends a file as a large one, and tells its reference."""
    endpoint = Endpoint(base_url="http://api.test", api_key=None, timeout_seconds=5)
    connection = HttpConnection(endpoint, transport=httpx.MockTransport(api.handle), sleep=api.pauses.append)
    with closing(connection):
        files = Files(connection, at_once_bytes=at_once_bytes)
        return files.upload(source, resume=resume, begun=begun).reference


def code_of(api: FakeApi, source: Path, *, resume: str | None = None) -> ErrorCode:
    with pytest.raises(AppError) as refused:
        large(api, source, resume=resume)
    return refused.value.code


def test_a_small_file_is_sent_at_once_with_its_digest(source: Path) -> None:
    api = FakeApi().on("POST", "/files", AWAY, httpx.Response(201, json=view(".jsonl")))
    with api.client() as client:
        stored = client.files.upload(source)

    assert stored.reference == f"sha256:{FILE_ID}.jsonl"
    for request in api.requests:
        assert request.content == DATA
        assert request.headers["x-content-sha256"] == FILE_ID
        assert request.headers["content-type"] == "application/octet-stream"
        assert request.url.params["name"] == "file.jsonl"
    assert len(api.requests) == 2


@pytest.mark.parametrize("name", ["plain", "odd.ü", "odd.a~b", "long." + "x" * 17, "dot."])
def test_a_suffix_that_the_server_would_refuse_is_not_sent(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DATA)
    api = FakeApi().on("POST", "/files", httpx.Response(201, json=view()))
    with api.client() as client:
        client.files.upload(tmp_path / name)

    assert "name" not in api.requests[0].url.params


def test_a_large_file_is_sent_in_parts_over_a_line_that_breaks(source: Path) -> None:
    sender = Sender(300, 0, None)
    api = FakeApi().on("GET", "/files", page()).on("POST", "/files/uploads", stands_at(0))
    api.on("PATCH", PLACE, sender.part).on("GET", PLACE, sender.look)
    api.on("POST", f"{PLACE}/complete", httpx.Response(201, json=view(".jsonl")))

    assert large(api, source) == f"sha256:{FILE_ID}.jsonl"
    assert sender.has == DATA
    assert len(api.pauses) == 2
    begun = next(request for request in api.requests if request.url.path == "/files/uploads")
    assert json.loads(begun.content) == {"num_bytes": len(DATA), "sha256": FILE_ID}


def test_a_large_file_that_is_there_already_is_not_sent(source: Path) -> None:
    api = FakeApi().on("GET", "/files", page(view()))

    assert large(api, source) == f"sha256:{FILE_ID}.jsonl"
    assert {request.method for request in api.requests} == {"GET"}


def test_a_file_with_another_id_is_not_the_one_looked_for(source: Path) -> None:
    other = view() | {"file_id": "0" * 64}
    api = FakeApi().on("GET", "/files", page(other)).on("POST", "/files/uploads", AWAY)

    assert code_of(api, source) is ErrorCode.SERVICE_UNAVAILABLE


def test_a_line_that_never_brings_a_byte_is_given_up(source: Path) -> None:
    sender = Sender(0, 0, 0, 0, 0)
    api = FakeApi().on("GET", "/files", page()).on("POST", "/files/uploads", stands_at(0))
    api.on("PATCH", PLACE, sender.part).on("GET", PLACE, sender.look)

    assert code_of(api, source) is ErrorCode.SERVICE_UNAVAILABLE


def test_a_line_that_always_brings_something_is_not_given_up(source: Path) -> None:
    sender = Sender(*[100] * 10, None)
    api = FakeApi().on("GET", "/files", page()).on("POST", "/files/uploads", stands_at(0))
    api.on("PATCH", PLACE, sender.part).on("GET", PLACE, sender.look)
    api.on("POST", f"{PLACE}/complete", view(".jsonl"))

    assert large(api, source) == f"sha256:{FILE_ID}.jsonl"
    assert sender.has == DATA


def test_a_part_that_is_still_being_written_down_is_waited_for(source: Path) -> None:
    sender = Sender(None)
    busy = problem(409, "CONFLICT", "Another part is coming.")
    api = FakeApi().on("GET", "/files", page()).on("POST", "/files/uploads", stands_at(0))
    api.on("PATCH", PLACE, busy, sender.part).on("GET", PLACE, sender.look)
    api.on("POST", f"{PLACE}/complete", view())
    large(api, source)

    assert (sender.has, len(api.pauses)) == (DATA, 1)


@pytest.mark.parametrize("is_given_up", [True, False])
def test_a_file_that_becomes_shorter_meanwhile_is_refused_and_its_upload_given_up(
    source: Path, is_given_up: bool
) -> None:
    sender = Sender(None)

    def shrink(request: httpx.Request) -> httpx.Response:
        source.write_bytes(DATA[:500])
        return sender.part(request)

    def look(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=stands_at(500))

    api = FakeApi().on("GET", "/files", page()).on("POST", "/files/uploads", stands_at(500))
    api.on("PATCH", PLACE, shrink).on("GET", PLACE, look)
    api.on("DELETE", PLACE, httpx.Response(204) if is_given_up else AWAY)
    sender.has = DATA[:500]

    assert code_of(api, source) is ErrorCode.DIGEST_MISMATCH
    assert [request.method for request in api.requests].count("PATCH") == 1
    assert api.requests[-1].method == "DELETE"


def test_a_file_that_becomes_longer_meanwhile_is_sent_as_it_was(source: Path) -> None:
    sender = Sender(300, None)

    def grow(request: httpx.Request) -> httpx.Response:
        source.write_bytes(DATA + b"more")
        return sender.part(request)

    api = FakeApi().on("GET", "/files", page()).on("POST", "/files/uploads", stands_at(0))
    api.on("PATCH", PLACE, grow).on("GET", PLACE, sender.look)
    api.on("POST", f"{PLACE}/complete", view(".jsonl"))

    assert large(api, source) == f"sha256:{FILE_ID}.jsonl"
    assert sender.has == DATA


def test_a_server_that_takes_nothing_though_it_says_so_is_given_up_after_some_pauses(source: Path) -> None:
    def drain(request: httpx.Request) -> httpx.Response:
        request.read()
        return httpx.Response(204)

    api = FakeApi().on("GET", "/files", page()).on("POST", "/files/uploads", stands_at(0))
    api.on("PATCH", PLACE, drain).on("GET", PLACE, lambda _request: httpx.Response(200, json=stands_at(0)))

    assert code_of(api, source) is ErrorCode.SERVICE_UNAVAILABLE
    assert [request.method for request in api.requests].count("PATCH") == 5
    assert len(api.pauses) == 4


def test_the_upload_of_a_large_file_is_named_before_anything_goes(source: Path) -> None:
    named: list[str] = []
    api = FakeApi().on("GET", "/files", page()).on("POST", "/files/uploads", stands_at(0))
    api.on("PATCH", PLACE, problem(413, "REQUEST_TOO_LARGE", "Too large."))
    with pytest.raises(AppError):
        large(api, source, begun=named.append)

    assert named == [UPLOAD_ID]


def test_an_upload_that_broke_off_is_gone_on_with_whatever_the_size(source: Path) -> None:
    sender = Sender(None)
    sender.has = DATA[:700]
    announced = {"num_bytes": len(DATA), "sha256": FILE_ID}
    api = FakeApi().on("GET", "/files", page())
    api.on("GET", PLACE, stands_at(700) | announced, sender.look).on("PATCH", PLACE, sender.part)
    api.on("POST", f"{PLACE}/complete", view(".jsonl"))

    assert large(api, source, resume=UPLOAD_ID, at_once_bytes=1 << 20) == f"sha256:{FILE_ID}.jsonl"
    assert sender.has == DATA
    assert api.requests[2].headers["upload-offset"] == "700"


@pytest.mark.parametrize("other", [{"num_bytes": 7}, {"sha256": "0" * 64}])
def test_an_upload_of_another_file_is_not_gone_on_with(source: Path, other: dict[str, object]) -> None:
    api = FakeApi().on("GET", "/files", page()).on("GET", PLACE, stands_at(0) | other)

    assert code_of(api, source, resume=UPLOAD_ID) is ErrorCode.CONFLICT


def test_a_refusal_ends_it_at_once(source: Path) -> None:
    too_large = problem(413, "REQUEST_TOO_LARGE", "Too large.")
    api = FakeApi().on("GET", "/files", page()).on("POST", "/files/uploads", stands_at(0))
    api.on("PATCH", PLACE, too_large)

    assert code_of(api, source) is ErrorCode.REQUEST_TOO_LARGE
    assert api.pauses == []


@pytest.mark.parametrize(
    ("answers", "is_stored"),
    [
        ([AWAY, view(".jsonl")], True),
        ([httpx.ReadTimeout("lost"), problem(404, "FILE_NOT_FOUND", "Completed before.")], True),
        ([httpx.ReadTimeout("lost"), problem(409, "CONFLICT", "Being completed."), view(".jsonl")], True),
        ([problem(409, "CONFLICT", "Bytes are missing.")], False),
        ([problem(404, "FILE_NOT_FOUND", "Never begun.")], False),
        ([problem(422, "DIGEST_MISMATCH", "Changed.")], False),
        ([AWAY] * 5, False),
    ],
    ids=[
        "tried again",
        "the answer was lost",
        "the answer is late",
        "not whole",
        "gone",
        "another file",
        "never there",
    ],
)
def test_a_file_is_complete_when_the_store_has_it(
    source: Path, answers: list[httpx.Response | Exception | dict[str, object]], is_stored: bool
) -> None:
    sender = Sender(None)
    api = FakeApi().on("GET", "/files", page(), page(view()))
    api.on("POST", "/files/uploads", stands_at(0))
    api.on("PATCH", PLACE, sender.part).on("GET", PLACE, sender.look)
    api.on("POST", f"{PLACE}/complete", *answers)
    if is_stored:
        assert large(api, source) == f"sha256:{FILE_ID}.jsonl"
    else:
        code_of(api, source)


def test_files_are_listed_page_by_page() -> None:
    api = FakeApi().on("GET", "/files", page(view(), has_more=True, last_id=FILE_ID), page(view()))
    with api.client() as client:
        found = list(client.files.list_files(prefix="ab", limit=1))

    assert [file.file_id for file in found] == [FILE_ID] * 2
    assert [dict(request.url.params) for request in api.requests] == [
        {"limit": "1", "prefix": "ab"},
        {"limit": "1", "prefix": "ab", "after": FILE_ID},
    ]


def test_a_page_that_promises_more_without_saying_where_is_the_last() -> None:
    api = FakeApi().on("GET", "/files", page(view(), has_more=True))
    with api.client() as client:
        assert len(list(client.files.list_files())) == 1


def test_one_file_is_found_by_its_id() -> None:
    api = FakeApi().on("GET", "/files", page(view()), page())
    with api.client() as client:
        assert client.files.find(FILE_ID).num_bytes == len(DATA)
        with pytest.raises(AppError) as unknown:
            client.files.find(FILE_ID)

    assert unknown.value.code is ErrorCode.FILE_NOT_FOUND


def test_a_file_is_fetched_and_verified(tmp_path: Path) -> None:
    api = FakeApi().on("GET", f"/files/{FILE_ID}", httpx.Response(200, content=DATA))
    with api.client() as client:
        assert client.files.download(FILE_ID, target=tmp_path / "a") == FILE_ID

    assert (tmp_path / "a").read_bytes() == DATA
    assert api.requests[0].url.query == b""


def test_a_file_that_arrives_damaged_is_refused(tmp_path: Path) -> None:
    api = FakeApi().on("GET", f"/files/{FILE_ID}", httpx.Response(200, content=DATA[:-1] + b"x"))
    with api.client() as client, pytest.raises(AppError) as damaged:
        client.files.download(FILE_ID, target=tmp_path / "a")

    assert damaged.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_a_file_is_removed_by_one_request() -> None:
    needed = problem(409, "CONFLICT", "Runs need it.")
    api = FakeApi().on("DELETE", f"/files/{FILE_ID}", httpx.Response(204), needed)
    with api.client() as client:
        client.files.delete(FILE_ID)
        with pytest.raises(AppError) as refused:
            client.files.delete(FILE_ID)

    assert refused.value.code is ErrorCode.CONFLICT
    assert len(api.requests) == 2
