"""What the store of artifacts knows of runs that Redis has lost."""

from pathlib import Path

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.events import JobCompleted, StoredEvent
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.maintenance.stored_side import StoredSide
from model_trainer.worker.storing import Layout, read_form, store_artifact
from tests.unit.worker.sealed import FILES, House

CORPUS = "c" * 64


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def side(house: House) -> StoredSide:
    return StoredSide(references=house.bench.references, store=house.store)


def events(run_id: str) -> tuple[StoredEvent, ...]:
    told = JobCompleted(job_id=run_id, user_id=None, message="Done.", metrics={})
    return (StoredEvent(seq=1, at_ms=1, event=told), StoredEvent(seq=2, at_ms=2, event=told))


def stored(
    house: House, *, layout: Layout = "files", kind: ArtifactKind = "models", told: bool = True
) -> RunRecord:
    lines = "".join(event.model_dump_json() + "\n" for event in events("r")).encode()
    files = {**FILES, "events.jsonl": lines} if told else {"config.json": b"{}"}
    run_id = house.completed(kind=kind, files=files)
    folder = house.local.folder(kind, run_id)
    form = read_form(folder, kind=kind, item_id=run_id)
    file_id = store_artifact(form, folder, house.store, layout=layout, refer=lambda _: None).file_id
    return house.bench.store.point_at_artifact(run_id, file_id=file_id, epoch=None)


@pytest.mark.parametrize("kind", ["models", "tokenizers"])
def test_events_come_from_the_store_when_the_folder_has_gone(
    house: House, side: StoredSide, kind: ArtifactKind
) -> None:
    assert side.events(stored(house, kind=kind)) == events("r")


def test_where_the_store_has_none_there_are_none(house: House, side: StoredSide) -> None:
    assert side.events(stored(house, told=False)) == ()
    assert side.events(stored(house, layout="tarball")) == ()
    assert side.events(house.bench.store.get(house.completed())) == ()


@pytest.mark.parametrize("kind", ["models", "tokenizers"])
def test_what_a_run_needs_and_what_it_has_left_is_said_again(house: House, kind: ArtifactKind) -> None:
    record = stored(house, kind=kind)
    spec: JsonObject = {"corpus_path": f"sha256:{CORPUS}.txt", "tokenizer_id": "t"}
    references = MemoryReferences()
    side = StoredSide(references=references, store=house.store)
    side.refer(record.model_copy(update={"spec": spec}))
    files = [file.sha256 for file in house.manifest(record.run_id, kind).files]
    for thing in ("tokenizer:t", *(f"file:{each}" for each in (CORPUS, record.artifact_file_id, *files))):
        assert references.referred_by(thing, limit=5) == (record.run_id,)


def test_of_a_run_that_needs_nothing_nothing_is_said(house: House, side: StoredSide) -> None:
    house.store.trouble.is_down = True
    side.refer(house.bench.store.get(house.completed()))
    assert house.store.calls == []


def test_what_cannot_be_known_is_said_so_after_what_can(house: House, side: StoredSide) -> None:
    record = stored(house).model_copy(update={"spec": {"tokenizer_id": "t"}})
    house.store.trouble.is_down = True
    with pytest.raises(AppError) as caught:
        side.refer(record)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert house.bench.references.referred_by("tokenizer:t", limit=5) == (record.run_id,)
