"""Jobs learn from files of the store: fetched once, locked while they are read, and never taken away under them."""

import hashlib
from pathlib import Path

import pytest

from model_trainer.core.contracts.files import NewUpload
from model_trainer.core.contracts.run import RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from tests.integration.conftest import MakeWorkshop
from tests.integration.workshop import FILES, TEXT, TINY_DETECTOR, Workshop


@pytest.fixture
def workshop(make_workshop: MakeWorkshop) -> Workshop:
    return make_workshop()


def stored(workshop: Workshop, data: bytes) -> str:
    """A file of the store, by its id."""
    files = workshop.container.files
    upload_id = files.begin(NewUpload()).upload_id
    part = files.append(upload_id, offset=0)
    part.write(data)
    part.close()
    return files.complete(upload_id).file.file_id


def test_a_tokenizer_learns_from_a_stored_file_what_it_learns_from_a_path(workshop: Workshop) -> None:
    file_id = stored(workshop, TEXT.encode())
    by_id = workshop.tokenizer(corpus_path=f"sha256:{file_id}.txt")
    by_path = workshop.tokenizer()

    assert by_id.status is RunStatus.COMPLETED, by_id.problem
    folders = [workshop.container.artifacts.folder("tokenizers", one.run_id) for one in (by_id, by_path)]
    assert len({digest(folder / "tokenizer.json") for folder in folders}) == 1
    assert [entry.file_id for entry in workshop.container.corpus_cache.entries()] == [file_id]


def test_a_file_that_a_finished_run_learnt_from_stays_in_the_store_and_may_leave_the_cache(
    workshop: Workshop,
) -> None:
    file_id = stored(workshop, TEXT.encode())
    run = workshop.tokenizer(corpus_path=f"sha256:{file_id}.txt")
    (entry,) = workshop.container.corpus_cache.entries()

    assert workshop.container.corpus_cache.remove(entry)
    with pytest.raises(AppError) as refused:
        workshop.container.files.delete(file_id)
    assert refused.value.code is ErrorCode.CONFLICT
    assert run.run_id in refused.value.message


def test_a_detector_learns_from_stored_tables(workshop: Workshop) -> None:
    table = FILES["labelled.jsonl"]
    file_id = stored(workshop, table.encode())
    run = workshop.train(TINY_DETECTOR, data_paths=[f"sha256:{file_id}.jsonl"], max_steps=1, finish=False)

    assert run.status is RunStatus.COMPLETED, run.problem
    assert run.spec["data_paths"] == [f"sha256:{file_id}.jsonl"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
