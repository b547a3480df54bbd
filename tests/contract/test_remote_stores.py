"""Artifact stores elsewhere: out of reach, without a bucket, with a wrong key, shared with others."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.store import ArtifactStore
from tests.contract.artifact_stores import DatabankServer, S3Server, digest_of, put, write
from tests.contract.refusals import code_of
from tests.contract.reopened import API_KEY, SECRET, databank_store, s3_store
from tests.unit.api.servers import free_port

ABSENT = "0" * 64
Call = Callable[[ArtifactStore, Path], object]
CALLS: dict[str, Call] = {
    "find": lambda store, _: store.find(ABSENT),
    "put": lambda store, path: store.put(path, file_id=digest_of(b"hello"), num_bytes=5),
    "read": lambda store, _: list(store.read(ABSENT)),
    "delete": lambda store, _: store.delete(ABSENT),
    "list": lambda store, _: store.list_files(limit=3),
    "check": lambda store, _: store.check(),
}


@pytest.mark.parametrize("kind", ["s3", "databank"])
@pytest.mark.parametrize("call", CALLS)
def test_a_store_that_cannot_be_reached_says_what_to_check(kind: str, call: str, tmp_path: Path) -> None:
    port = free_port()
    store = s3_store(port, bucket="models") if kind == "s3" else databank_store(port)
    path, _, _ = write(tmp_path / "source", b"hello")

    with pytest.raises(AppError) as caught:
        CALLS[call](store, path)

    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert f"STORE__{kind.upper()}__" in caught.value.message
    told = f"{caught.value.message} {caught.value.facts}"
    assert SECRET not in told
    assert API_KEY not in told


@pytest.mark.parametrize("call", ["put", "list", "check"])
def test_a_bucket_that_is_not_there_is_no_empty_store(s3_server: S3Server, tmp_path: Path, call: str) -> None:
    store = s3_store(s3_server.port, bucket="nobody-made-it")
    path, _, _ = write(tmp_path / "source", b"hello")

    with pytest.raises(AppError, match="nobody-made-it") as caught:
        CALLS[call](store, path)

    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert "NoSuchBucket" in str(caught.value.facts["detail"])


@pytest.mark.parametrize("call", CALLS)
def test_a_data_bank_that_does_not_take_the_key_cannot_be_used(
    databank: DatabankServer, tmp_path: Path, call: str
) -> None:
    store = databank_store(databank.port, api_key="wrong")
    path, _, _ = write(tmp_path / "source", b"hello")

    assert code_of(lambda: CALLS[call](store, path)) is ErrorCode.STORE_UNAVAILABLE


def test_two_prefixes_of_a_bucket_are_two_stores(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.make_bucket()
    one, other, none = (
        s3_store(s3_server.port, bucket=bucket, prefix=prefix) for prefix in ("one", "/other/", "")
    )

    stored = put(one, tmp_path, b"hello")

    assert other.find(stored.file_id) is None
    assert other.list_files(limit=3).files == ()
    assert none.list_files(limit=3).files == ()
    assert s3_server.contents(bucket) == [f"one/files/{stored.file_id}"]


def test_settings_go_before_the_environment_that_every_s3_client_reads(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.make_bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")

    stored = put(s3_store(s3_server.port, bucket=bucket), tmp_path, b"hello")

    assert s3_server.contents(bucket) == [f"models/files/{stored.file_id}"]


def test_objects_of_others_beside_ours_are_passed_over(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.make_bucket()
    store = s3_store(s3_server.port, bucket=bucket, prefix="")
    stored = put(store, tmp_path, b"hello")
    httpx.put(f"{s3_server.url}/{bucket}/files/0-note.txt", content=b"theirs", trust_env=False)

    assert store.list_files(limit=3).files == (stored,)
