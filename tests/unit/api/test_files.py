"""/files: whole files up, down, listed and deleted, and corpora that lie in the store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from model_trainer.core.contracts.files import StoredFile
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.orchestrators.needs import thing_of_file
from tests.unit.api.conftest import Connect
from tests.unit.api.filing import DATA, FILE_ID, NO_FILE, code_of, nothing_is_left, small_files, store
from tests.unit.api.service import Service


def in_pieces() -> Iterator[bytes]:
    """Sent without a length."""
    for start in range(0, len(DATA), 1000):
        yield DATA[start : start + 1000]


def test_a_file_is_stored_under_its_digest(client: TestClient) -> None:
    answer = client.post("/files", params={"name": "News 1.JSONL"}, content=DATA)

    shown = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/files/{FILE_ID}")
    assert (shown["file_id"], shown["num_bytes"]) == (FILE_ID, len(DATA))
    assert shown["reference"] == f"sha256:{FILE_ID}.jsonl"
    assert shown["links"] == {"self": f"/files/{FILE_ID}"}


def test_the_same_bytes_are_stored_once_however_they_come(client: TestClient, service: Service) -> None:
    assert client.post("/files", content=in_pieces()).status_code == 201
    again = client.post("/files", content=DATA, headers={"X-Content-SHA256": FILE_ID})

    assert (again.status_code, again.json()["reference"]) == (200, f"sha256:{FILE_ID}")
    assert len(service.store.list_files(limit=9).files) == 1


def test_an_empty_file_is_a_file(client: TestClient) -> None:
    assert client.post("/files", content=b"").json()["num_bytes"] == 0


def test_bytes_that_are_not_those_announced_are_not_stored(client: TestClient, service: Service) -> None:
    answer = client.post("/files", content=DATA, headers={"X-Content-SHA256": NO_FILE})

    assert (answer.status_code, code_of(answer)) == (422, "DIGEST_MISMATCH")
    assert nothing_is_left(service)


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"Content-Type": "multipart/form-data; boundary=x"}, "Content-Type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type"),
        ({"Content-Encoding": "gzip"}, "Content-Encoding"),
        ({"X-Content-SHA256": "ABC"}, "X-Content-SHA256"),
        ({"X-Content-SHA256": FILE_ID.upper()}, "X-Content-SHA256"),
    ],
)
def test_what_is_no_plain_file_is_refused_with_the_way_out(
    client: TestClient, service: Service, headers: dict[str, str], field: str
) -> None:
    answer = client.post("/files", content=DATA, headers=headers)

    assert (answer.status_code, code_of(answer)) == (422, "CONFIG_INVALID")
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/header/{field}"]
    assert nothing_is_left(service)


def test_two_digests_are_one_too_many(client: TestClient) -> None:
    answer = client.post(
        "/files", content=DATA, headers=[("X-Content-SHA256", FILE_ID), ("X-Content-SHA256", FILE_ID)]
    )

    assert answer.status_code == 422


@pytest.mark.parametrize("name", ["news", "news.", "a.b/c", "a.tar~", "x" * 300 + ".txt"])
def test_a_name_without_a_plain_suffix_is_refused(client: TestClient, service: Service, name: str) -> None:
    assert client.post("/files", params={"name": name}, content=DATA).status_code == 422
    assert nothing_is_left(service)


def test_a_file_that_is_too_large_is_refused_before_it_comes_or_while_it_does(connect: Connect) -> None:
    service, client = small_files(connect)
    announced = client.post("/files", content=DATA)
    flowing = client.post("/files", content=in_pieces())

    for answer in (announced, flowing):
        assert (answer.status_code, code_of(answer)) == (413, "REQUEST_TOO_LARGE")
        assert "APP__MAX_FILE_BYTES" in answer.json()["message"]
    assert nothing_is_left(service)
    assert client.post("/files", content=DATA[:1000]).status_code == 201


def test_other_bodies_stay_small(client: TestClient) -> None:
    for path in ("/runs/train", "/files/uploads", "/files/uploads/x/complete"):
        answer = client.post(path, content=DATA)
        assert answer.status_code == 413
        assert "POST /files" in answer.json()["message"]


class TroubledStore(MemoryStore):
    """Goes away when it is given a file, or read."""

    is_away = False

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        if self.is_away:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "away")
        return super().put(path, file_id=file_id, num_bytes=num_bytes)

    def read(self, file_id: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        for piece in super().read(file_id, start=start, stop=stop):
            yield piece[:100]
            if self.is_away:
                raise AppError(ErrorCode.STORE_UNAVAILABLE, "away")


def test_a_store_that_is_away_is_said_to_be_and_keeps_nothing_half(connect: Connect) -> None:
    store = TroubledStore()
    service = Service(store=store)
    client = connect(service)
    store.is_away = True
    answer = client.post("/files", content=DATA)

    assert (answer.status_code, code_of(answer)) == (503, "STORE_UNAVAILABLE")
    assert "retry-after" in answer.headers
    assert nothing_is_left(service)


def test_a_file_is_fetched_whole_with_headers_that_make_it_harmless(client: TestClient) -> None:
    store(client)
    answer = client.get(f"/files/{FILE_ID}")

    assert answer.content == DATA
    assert answer.headers["etag"] == f'"{FILE_ID}"'
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{FILE_ID}"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "application/octet-stream"


def test_the_head_of_a_file_tells_all_that_the_store_knows(client: TestClient, service: Service) -> None:
    store(client)
    answer = client.head(f"/files/{FILE_ID}")

    stored = service.store.find(FILE_ID)
    assert stored is not None
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-stored-at-ms"] == str(stored.stored_at_ms)
    assert answer.content == b""


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=102000-", 102000, 102399),
        ("bytes=-5", 102395, 102399),
        ("bytes=5-5", 5, 5),
    ],
)
def test_one_range_of_a_file_is_given(client: TestClient, wanted: str, first: int, last: int) -> None:
    store(client)
    answer = client.get(f"/files/{FILE_ID}", headers={"Range": wanted})

    assert (answer.status_code, answer.content) == (206, DATA[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(DATA)}"


def test_a_range_beyond_the_end_says_where_the_end_is(client: TestClient) -> None:
    store(client)
    answer = client.get(f"/files/{FILE_ID}", headers={"Range": f"bytes={len(DATA)}-"})

    assert (answer.status_code, code_of(answer)) == (416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


def test_who_has_the_file_need_not_have_it_again(client: TestClient) -> None:
    store(client)
    known = client.get(f"/files/{FILE_ID}", headers={"If-None-Match": f'"{FILE_ID}"'})
    other = client.get(f"/files/{FILE_ID}", headers={"If-None-Match": f'"{NO_FILE}"'})
    stale = client.get(f"/files/{FILE_ID}", headers={"Range": "bytes=0-9", "If-Range": f'"{NO_FILE}"'})

    assert (known.status_code, known.content) == (304, b"")
    assert (other.status_code, stale.status_code) == (200, 200)


def test_a_store_that_fails_on_the_way_breaks_the_answer_off(
    connect: Connect, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    troubled = TroubledStore()
    client = connect(Service(store=troubled))
    store(client)
    troubled.is_away = True
    answer = client.get(f"/files/{FILE_ID}")

    assert (answer.headers["content-length"], answer.content) == (str(len(DATA)), DATA[:100])
    log = capsys.readouterr().out + caplog.text  # wherever tests before this one have sent the log
    assert "stream_ended_early" in log
    assert "request_failed" not in log


def test_files_are_listed_by_their_ids_page_by_page(client: TestClient) -> None:
    ids = sorted(store(client, bytes([number])) for number in range(5))
    first = client.get("/files?limit=3").json()
    rest = client.get(f"/files?limit=3&after={first['last_id']}").json()
    some = client.get(f"/files?prefix={ids[1][:8]}").json()

    assert [file["file_id"] for file in first["data"] + rest["data"]] == ids
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert (first["first_id"], first["last_id"]) == (ids[0], ids[2])
    assert [file["file_id"] for file in some["data"]] == [ids[1]]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "after=x",
        f"after={FILE_ID[:-1]}",
        "prefix=XYZ",
        "prefix=../",
        "order=asc",
        "limit=1&limit=2",
    ],
)
def test_a_list_that_cannot_be_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/files?{query}").status_code == 422


def test_a_file_is_deleted_once(client: TestClient, service: Service) -> None:
    store(client)
    assert client.delete(f"/files/{FILE_ID}").status_code == 204
    assert nothing_is_left(service)

    again = client.delete(f"/files/{FILE_ID}")
    assert (again.status_code, code_of(again)) == (404, "FILE_NOT_FOUND")


def test_a_file_that_a_run_needs_is_not_deleted(client: TestClient, service: Service) -> None:
    store(client)
    run_id = new_ulid()
    service.references.refer(run_id, [thing_of_file(FILE_ID)])
    answer = client.delete(f"/files/{FILE_ID}")

    assert (answer.status_code, code_of(answer)) == (409, "CONFLICT")
    assert run_id in answer.json()["message"]
    assert client.get(f"/files/{FILE_ID}").content == DATA


def test_a_file_that_is_not_there_is_not_found(client: TestClient) -> None:
    assert code_of(client.get(f"/files/{NO_FILE}")) == "FILE_NOT_FOUND"
    assert client.head(f"/files/{NO_FILE}").status_code == 404


@pytest.mark.parametrize(
    "file_id",
    ["x", FILE_ID.upper(), FILE_ID[:-1], FILE_ID + "0", "..%2f..%2fetc%2fpasswd", FILE_ID + "%0a", "%00"],
)
def test_what_is_no_id_never_reaches_the_store(client: TestClient, file_id: str) -> None:
    for answer in (client.get(f"/files/{file_id}"), client.delete(f"/files/{file_id}")):
        assert answer.status_code in (404, 422)
        assert answer.json()["code"] in ("CONFIG_INVALID", "NOT_FOUND")


def test_a_corpus_of_the_store_is_looked_into_like_one_of_the_data_root(
    client: TestClient, service: Service
) -> None:
    text, noise = store(client, b"text to learn from\n" * 300), store(client, b"\xff\xfe\xfa" * 500)
    ordered = {
        path: client.post("/tokenizers/train", json={"method": "bpe", "corpus_path": path, "vocab_size": 300})
        for path in (
            f"sha256:{text}.txt",
            f"sha256:{noise}.txt",
            f"sha256:{NO_FILE}.txt",
            f"sha256:{text}.png",
        )
    }

    assert [answer.status_code for answer in ordered.values()] == [202, 422, 422, 422]
    assert [answer.json().get("code") for answer in ordered.values()] == [
        None,
        "DATA_ENCODING_INVALID",
        "DATA_NOT_FOUND",
        "DATA_FORMAT_UNSUPPORTED",
    ]
    for answer in list(ordered.values())[1:]:
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/corpus_path"]
    tokenizer_id = next(iter(ordered.values())).json()["tokenizer_id"]
    assert service.references.referred_by(thing_of_file(text), limit=9) == (tokenizer_id,)
    assert client.delete(f"/files/{text}").status_code == 409
    assert client.delete(f"/files/{noise}").status_code == 204


def test_a_large_corpus_of_the_store_is_not_fetched_to_be_looked_into(
    client: TestClient, service: Service
) -> None:
    large = store(client, b"\xff\xfe\xfa\n" * (1 << 20) + b"!")
    answer = client.post(
        "/tokenizers/train", json={"method": "bpe", "corpus_path": f"sha256:{large}.txt", "vocab_size": 300}
    )

    assert answer.status_code == 202
    assert service.container.corpus_cache.entries() == ()
