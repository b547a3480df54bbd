"""Files arrive whole and verified, also over a line that breaks."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.client.fake_api import RUN_ID, FakeApi, problem

URL = f"/artifacts/models/{RUN_ID}/download"
CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"{DIGEST}"'


def serve(request: httpx.Request) -> httpx.Response:
    """A server with ranges: 206 when the If-Range still fits."""
    start = request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
    if "range" in request.headers and request.headers["if-range"] == ETAG:
        if int(start) >= len(CONTENT):
            return problem(416, "RANGE_NOT_SATISFIABLE", "The range lies beyond the file.")
        return httpx.Response(206, content=CONTENT[int(start) :], headers={"etag": ETAG})
    return httpx.Response(200, content=CONTENT, headers={"etag": ETAG})


def breaks_after(count: int, etag: str | None = ETAG) -> httpx.Response:
    """The beginning of the file, then a dead line."""

    def chunks() -> Iterator[bytes]:
        yield CONTENT[:count]
        raise httpx.ReadError("the line is dead")

    return httpx.Response(200, content=chunks(), headers={} if etag is None else {"etag": etag})


def fetch(api: FakeApi, target: Path, sha256: str | None = None) -> str:
    with api.client() as client:
        return client.download("models", RUN_ID, path="model.safetensors", target=target, sha256=sha256)


def test_a_file_arrives_with_its_folders(tmp_path: Path) -> None:
    api = FakeApi().on("GET", URL, serve)
    target = tmp_path / "a" / "b" / "model.safetensors"
    seen: list[int] = []
    with api.client() as client:
        found = client.download(
            "models", RUN_ID, path="model.safetensors", target=target, received=seen.append
        )
    assert found == DIGEST
    assert target.read_bytes() == CONTENT
    assert seen[-1] == len(CONTENT)
    assert [file.name for file in target.parent.iterdir()] == [target.name]
    assert api.requests[0].url.params["path"] == "model.safetensors"


def test_a_broken_fetch_goes_on_where_it_stopped(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    api = FakeApi().on("GET", URL, breaks_after(1000), httpx.ConnectError("down"), serve)
    assert fetch(api, target, DIGEST) == DIGEST
    assert target.read_bytes() == CONTENT
    assert [request.headers.get("range") for request in api.requests] == [None, "bytes=1000-", "bytes=1000-"]


def test_kept_bytes_are_asked_for_no_second_time(tmp_path: Path) -> None:
    target = tmp_path / "m"
    target.with_name("m.part").write_bytes(CONTENT[:1000])
    target.with_name("m.part.etag").write_text(ETAG)
    api = FakeApi().on("GET", URL, serve)
    assert fetch(api, target, DIGEST) == DIGEST
    assert api.requests[0].headers["range"] == "bytes=1000-"
    assert target.read_bytes() == CONTENT


def test_bytes_of_another_version_are_thrown_away(tmp_path: Path) -> None:
    target = tmp_path / "m"
    target.with_name("m.part").write_bytes(b"of another file")
    target.with_name("m.part.etag").write_text('"something else"')
    assert fetch(FakeApi().on("GET", URL, serve), target) == DIGEST
    assert target.read_bytes() == CONTENT


def test_bytes_without_a_known_version_are_thrown_away(tmp_path: Path) -> None:
    target = tmp_path / "m"
    target.with_name("m.part").write_bytes(b"whose is this?")
    api = FakeApi().on("GET", URL, serve)
    fetch(api, target)
    assert "range" not in api.requests[0].headers


def test_a_fetch_that_had_everything_but_the_name_starts_afresh(tmp_path: Path) -> None:
    target = tmp_path / "m"
    target.with_name("m.part").write_bytes(CONTENT)
    target.with_name("m.part.etag").write_text(ETAG)
    api = FakeApi().on("GET", URL, serve)
    assert fetch(api, target) == DIGEST
    assert len(api.requests) == 2


def test_a_server_without_etags_is_believed_only_with_a_digest(tmp_path: Path) -> None:
    api = FakeApi().on("GET", URL, breaks_after(500, etag=None), httpx.Response(200, content=CONTENT))
    assert fetch(api, tmp_path / "m", DIGEST) == DIGEST


@pytest.mark.parametrize("etag", [ETAG, f'"sha256:{DIGEST}"'])
def test_a_damaged_file_is_refused_and_removed(tmp_path: Path, etag: str) -> None:
    api = FakeApi().on("GET", URL, httpx.Response(200, content=b"not it", headers={"etag": etag}))
    with pytest.raises(AppError) as caught:
        fetch(api, tmp_path / "m")
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_what_the_listing_promised_is_refused(tmp_path: Path) -> None:
    api = FakeApi().on("GET", URL, httpx.Response(200, content=b"not it", headers={"etag": 'W/"weak"'}))
    with pytest.raises(AppError) as caught:
        fetch(api, tmp_path / "m", DIGEST)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_a_line_that_stays_dead_is_given_up_and_what_came_is_kept(tmp_path: Path) -> None:
    api = FakeApi().on("GET", URL, httpx.ConnectError("down"))
    target = tmp_path / "m"
    target.with_name("m.part").write_bytes(CONTENT[:10])
    with pytest.raises(AppError) as caught:
        fetch(api, target)
    assert caught.value.code is ErrorCode.SERVICE_UNAVAILABLE
    assert len(api.requests) == 5
    assert target.with_name("m.part").exists()


def test_a_range_refused_to_a_fresh_fetch_is_an_error(tmp_path: Path) -> None:
    api = FakeApi().on("GET", URL, problem(416, "RANGE_NOT_SATISFIABLE", "no"))
    with pytest.raises(AppError) as caught:
        fetch(api, tmp_path / "m")
    assert caught.value.code is ErrorCode.RANGE_NOT_SATISFIABLE
