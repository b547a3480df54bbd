"""Artifacts: what is listed, and how one file of them travels."""

import hashlib

import pytest
from starlette.testclient import TestClient

from model_trainer.api.byte_ranges import wanted_range
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import ArtifactFile, Revision
from model_trainer.core.errors import AppError
from tests.manifests import completed_manifest
from tests.unit.api.service import Service

CONTENT = bytes(range(256)) * 4
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def item_id(service: Service) -> str:
    """A sealed model with two files, one of them of a later revision, and a log that still grows."""
    item_id = new_ulid()
    service.write("models", item_id, "model.safetensors", CONTENT)
    service.write("models", item_id, "eval/metrics.json", b"{}")
    service.write("models", item_id, "logs.jsonl", b"{}\n")
    sealed = ArtifactFile(path="model.safetensors", num_bytes=len(CONTENT), sha256=SHA256)
    later = ArtifactFile(path="eval/metrics.json", num_bytes=2, sha256="a" * 64)
    manifest = completed_manifest(
        "models",
        item_id,
        sealed,
        ArtifactFile(path="logs.jsonl", num_bytes=1, sha256="b" * 64),
        revisions=(Revision(job="evaluate_model", job_id=new_ulid(), created_at="", files=(later,)),),
    )
    service.write("models", item_id, "manifest.json", manifest.model_dump_json().encode())
    return item_id


def test_an_artifact_lists_its_files_with_the_digests_that_still_hold(
    client: TestClient, item_id: str
) -> None:
    shown = client.get(f"/artifacts/models/{item_id}").json()

    files = {file["path"]: (file["num_bytes"], file["sha256"]) for file in shown["files"]}
    assert files["model.safetensors"] == (len(CONTENT), SHA256)
    assert files["eval/metrics.json"] == (2, "a" * 64)
    assert files["logs.jsonl"] == (3, None)
    assert (shown["status"], shown["manifest"]["item_id"]) == ("completed", item_id)


def test_an_artifact_in_the_making_has_no_manifest_yet(client: TestClient, service: Service) -> None:
    item_id = new_ulid()
    service.write("tokenizers", item_id, "logs.jsonl", b"{}\n")

    shown = client.get(f"/artifacts/tokenizers/{item_id}").json()

    assert (shown["status"], shown["manifest"]) == (None, None)
    assert shown["files"] == [{"path": "logs.jsonl", "num_bytes": 3, "sha256": None}]


def test_a_damaged_manifest_is_said_to_be_damaged(client: TestClient, service: Service, item_id: str) -> None:
    service.write("models", item_id, "manifest.json", b"{")

    answer = client.get(f"/artifacts/models/{item_id}")

    assert (answer.status_code, answer.json()["code"]) == (500, "ARTIFACT_CORRUPT")


def test_an_artifact_that_is_not_there_is_not_found(client: TestClient) -> None:
    assert client.get(f"/artifacts/models/{new_ulid()}").json()["code"] == "ARTIFACT_NOT_FOUND"
    assert client.get(f"/artifacts/secrets/{new_ulid()}").status_code == 422


def url(item_id: str, path: str = "model.safetensors") -> str:
    """Where a file is downloaded."""
    return f"/artifacts/models/{item_id}/download?path={path}"


def test_a_download_brings_the_file_and_cannot_be_opened_in_a_browser(
    client: TestClient, item_id: str
) -> None:
    answer = client.get(url(item_id))

    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["etag"] == f'"{SHA256}"'
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''model.safetensors"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["accept-ranges"] == "bytes"


def test_head_says_the_same_without_the_bytes(client: TestClient, item_id: str) -> None:
    whole, head = client.get(url(item_id)), client.head(url(item_id))

    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "last-modified", "content-disposition"):
        assert head.headers[name] == whole.headers[name]
    assert client.head(url(item_id, "absent")).status_code == 404


def test_a_file_name_is_quoted_where_it_is_offered(
    client: TestClient, service: Service, item_id: str
) -> None:
    service.write("models", item_id, 'a "b";\u202e.txt', b"x")

    answer = client.get(f"/artifacts/models/{item_id}/download", params={"path": 'a "b";\u202e.txt'})

    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20%22b%22%3B%E2%80%AE.txt"


@pytest.mark.parametrize(
    ("sent", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=1000-", 1000, 1023),
        ("bytes=-4", 1020, 1023),
        ("Bytes = 5-99999", 5, 1023),
    ],
)
def test_one_range_is_answered_in_part(
    client: TestClient, item_id: str, sent: str, first: int, last: int
) -> None:
    answer = client.get(url(item_id), headers={"Range": sent})

    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/1024"
    assert answer.content == CONTENT[first : last + 1]


@pytest.mark.parametrize(
    "sent",
    [
        "items=0-1",
        "bytes=0-1,3-4",
        "bytes=5-1",
        "bytes=a-b",
        "bytes=-",
        "bytes",
        "bytes=0",
        "bytes=--5",
        "bytes=0-,0-",
    ],
)
def test_a_range_that_is_none_means_the_whole_file(client: TestClient, item_id: str, sent: str) -> None:
    answer = client.get(url(item_id), headers={"Range": sent})

    assert (answer.status_code, len(answer.content)) == (200, 1024)


@pytest.mark.parametrize(
    "sent", ["bytes=1024-", "bytes=-0", "bytes=99999999999999999999999999-", "bytes=2000-3000"]
)
def test_a_range_beyond_the_file_is_refused_with_its_size(
    client: TestClient, item_id: str, sent: str
) -> None:
    answer = client.get(url(item_id), headers={"Range": sent})

    assert (answer.status_code, answer.json()["code"]) == (416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["content-range"] == "bytes */1024"


def test_two_range_headers_mean_the_whole_file(client: TestClient, item_id: str) -> None:
    assert (
        client.get(url(item_id), headers=[("Range", "bytes=0-1"), ("Range", "bytes=2-3")]).status_code == 200
    )


def test_no_range_of_an_empty_file_can_be_given() -> None:
    assert wanted_range([], size=0) is None
    with pytest.raises(AppError):
        wanted_range(["bytes=0-"], size=0)


def test_if_range_guards_against_half_of_another_version(client: TestClient, item_id: str) -> None:
    modified = client.head(url(item_id)).headers["last-modified"]

    def status(if_range: str) -> int:
        return client.get(url(item_id), headers={"Range": "bytes=0-1", "If-Range": if_range}).status_code

    assert status(f'"{SHA256}"') == 206
    assert status(modified) == 206
    assert status('"stale"') == 200
    assert status(f'W/"{SHA256}"') == 200


def test_a_version_that_is_known_is_not_sent_again(client: TestClient, item_id: str) -> None:
    def status(tags: str) -> int:
        return client.get(url(item_id), headers={"If-None-Match": tags}).status_code

    assert status(f'"{SHA256}"') == 304
    assert status(f'"other", W/"{SHA256}"') == 304
    assert status("*") == 304
    assert status('"other"') == 200


def test_the_etag_of_an_unsealed_file_changes_with_the_file(
    client: TestClient, service: Service, item_id: str
) -> None:
    before = client.head(url(item_id, "logs.jsonl")).headers["etag"]
    service.write("models", item_id, "logs.jsonl", b"{}\n{}\n")

    assert client.head(url(item_id, "logs.jsonl")).headers["etag"] != before


def test_only_files_of_the_artifact_can_be_had(client: TestClient, service: Service, item_id: str) -> None:
    folder = service.artifacts.folder("models", item_id)
    (folder / "link").symlink_to("/etc/passwd")
    for path in ("", "absent", "..", "../x", "/etc/passwd", "eval", "link", "a\x00b", "x" * 1025, "%2e%2e/x"):
        answer = client.get(f"/artifacts/models/{item_id}/download", params={"path": path})
        assert answer.status_code in (404, 422), path
    assert client.get(f"/artifacts/models/{item_id}/download").status_code == 422
