"""Stores elsewhere over a wire that does what networks do: what was put is there whole, once, or not at all."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.store import ArtifactStore
from tests.contract.artifact_stores import (
    DatabankServer,
    S3Server,
    databank_service,
    s3_service,
    write,
)
from tests.contract.reopened import databank_store, s3_store
from tests.faults.toxic_proxy import ToxicProxy, Toxics

MEBIBYTE = 1024 * 1024
LARGE = 20 * MEBIBYTE
MOST_PUTS = 20


class Wired:
    """A store behind a proxy, and what only its owner sees."""

    def __init__(
        self,
        proxy: ToxicProxy,
        *,
        opened: Callable[[float], ArtifactStore],
        left_behind: Callable[[], list[str]],
    ) -> None:
        self.proxy = proxy
        self.opened = opened
        self.left_behind = left_behind


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    with s3_service() as server:
        yield server


@pytest.fixture(scope="module")
def databank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabankServer]:
    with databank_service(tmp_path_factory.mktemp("databank")) as server:
        yield server


@pytest.fixture(params=["s3", "databank"])
def wired(request: pytest.FixtureRequest) -> Iterator[Wired]:
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3_server")
        bucket = s3.make_bucket()
        with ToxicProxy(s3.port) as proxy:
            yield Wired(
                proxy,
                opened=lambda seconds: s3_store(proxy.port, bucket=bucket, timeout_seconds=seconds),
                left_behind=lambda: s3.contents(bucket),
            )
    else:
        bank: DatabankServer = request.getfixturevalue("databank")
        bank.empty()
        with ToxicProxy(bank.port) as proxy:
            yield Wired(
                proxy,
                opened=lambda seconds: databank_store(proxy.port, timeout_seconds=seconds),
                left_behind=bank.contents,
            )


def put_at_last(store: ArtifactStore, path: Path, file_id: str, num_bytes: int) -> int:
    """Puts until it is acknowledged, as a run does that waits for its store; returns after how many tries."""
    for tries in range(1, MOST_PUTS + 1):
        try:
            store.put(path, file_id=file_id, num_bytes=num_bytes)
        except AppError as error:
            assert error.code is ErrorCode.STORE_UNAVAILABLE, error  # noqa: PT017 - any other would end the run
        else:
            return tries
    raise AssertionError("It never worked.")


@pytest.mark.parametrize("num_bytes", [1000, LARGE])
@pytest.mark.parametrize(
    "toxics",
    [
        lambda: Toxics(latency_seconds=0.01, slice_bytes=1000),
        lambda: Toxics(replies_to_drop=1),
        lambda: Toxics(answers_before_drop=1, replies_to_drop=1),
        lambda: Toxics(answers_before_drop=2, replies_to_drop=1),
        lambda: Toxics(resets_every=3),
        lambda: Toxics(bytes_before_cut=600),
        lambda: Toxics(bytes_before_cut=3 * MEBIBYTE),
    ],
)
def test_a_file_gets_through_whole_and_once(
    wired: Wired, tmp_path: Path, num_bytes: int, toxics: Callable[[], Toxics]
) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", os.urandom(num_bytes))
    store = wired.opened(5.0)
    wired.proxy.toxics = toxics()

    put_at_last(store, path, file_id, num_bytes)

    wired.proxy.toxics = Toxics()
    assert b"".join(store.read(file_id)) == path.read_bytes()
    assert [file.file_id for file in store.list_files(limit=10).files] == [file_id]
    assert [each for each in wired.left_behind() if "/files/" in each or "store/" in each] == [
        each for each in wired.left_behind() if file_id[2:] in each
    ]


@pytest.mark.parametrize("cut_after", [1, 3, 9])
def test_a_read_whose_connection_breaks_is_whole_or_fails(
    wired: Wired, tmp_path: Path, cut_after: int
) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", os.urandom(LARGE))
    store = wired.opened(5.0)
    store.put(path, file_id=file_id, num_bytes=num_bytes)
    wired.proxy.toxics = Toxics(answers_before_drop=cut_after, replies_to_drop=1)

    assert b"".join(store.read(file_id)) == path.read_bytes()


def test_a_store_that_has_fallen_silent_is_given_up(wired: Wired, tmp_path: Path) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    store = wired.opened(0.2)
    wired.proxy.toxics = Toxics(is_silent=True)

    with pytest.raises(AppError) as caught:
        store.put(path, file_id=file_id, num_bytes=num_bytes)

    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert wired.left_behind() == []
