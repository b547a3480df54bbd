"""Ids are found wherever a run or a model says what it was made with."""

import time
from pathlib import Path

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import RunKind
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.maintenance.mentions import RUNS_A_PAGE, Mentions
from tests.contract.run_stores import new_run

OLD = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
"""An id of 2016."""


class House:
    """A store and a disk."""

    def __init__(self, root: Path) -> None:
        self.models = root / "models"
        self.kept_runs = root / "runs"
        self.runs = MemoryRunStore(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)
        self.mentions = Mentions(runs=self.runs, models=self.models, kept_runs=self.kept_runs)
        self.wanted = {new_ulid() for _ in range(3)}

    def one(self) -> str:
        return min(self.wanted)

    def order(self, tokenizer_id: str, *, run_id: str | None = None, kind: RunKind = RunKind.TRAIN) -> str:
        run = new_run(
            run_id=run_id or new_ulid(),
            kind=kind,
            spec={"inner": [{"tokenizer_id": tokenizer_id}]},
            user_id=None,
        )
        return self.runs.submit(run, idempotency=None).record.run_id


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_where_there_is_nothing_nothing_is_mentioned(house: House) -> None:
    assert house.mentions.among(house.wanted) == set()


@pytest.mark.parametrize("kind", list(RunKind))
def test_runs_of_every_kind_mention_what_they_were_ordered_with(house: House, kind: RunKind) -> None:
    house.order(house.one(), kind=kind)
    house.order(new_ulid(), kind=kind)

    assert house.mentions.among(house.wanted) == {house.one()}


def test_the_oldest_of_many_runs_is_read_too(house: House) -> None:
    house.order(house.one(), run_id=OLD)
    for _ in range(RUNS_A_PAGE):
        house.order("nothing")

    assert house.mentions.among(house.wanted) == {house.one()}


@pytest.mark.parametrize("text", ['{"spec":{"tokenizer_id":"%s"}}', 'torn: {"tokenizer_id":"%s","corp'])
def test_files_on_disk_mention_it_even_when_they_are_damaged(house: House, text: str) -> None:
    first, second, third = sorted(house.wanted)
    put(house.models / new_ulid() / "manifest.json", text % first)
    put(house.kept_runs / new_ulid() / "record.json", text % second)
    put(house.kept_runs / new_ulid() / "other.json", text % third)

    assert house.mentions.among(house.wanted) == {first, second}


def test_nothing_is_needed_for_mentioning_itself(house: House) -> None:
    put(house.kept_runs / house.one() / "record.json", f'{{"run_id":"{house.one()}"}}')
    house.order(house.one(), run_id=house.one(), kind=RunKind.TOKENIZER)

    assert house.mentions.among(house.wanted) == set()


def test_folders_without_the_file_and_other_files_are_passed_over(house: House) -> None:
    (house.models / new_ulid()).mkdir(parents=True)
    put(house.models / "README.md", house.one())

    assert house.mentions.among(house.wanted) == set()


def test_a_file_that_cannot_be_read_is_no_answer(house: House) -> None:
    (house.models / new_ulid() / "manifest.json").mkdir(parents=True)

    with pytest.raises(IsADirectoryError):
        house.mentions.among(house.wanted)


def test_only_what_is_new_is_looked_at_where_that_is_enough(house: House) -> None:
    first, second, third = sorted(house.wanted)
    house.order(first, run_id=OLD)
    put(house.models / OLD / "manifest.json", second)
    put(house.kept_runs / OLD / "record.json", third)
    assert house.mentions.among(house.wanted, not_before=first[:10]) == set()

    house.order(first)
    put(house.models / new_ulid() / "manifest.json", second)
    put(house.kept_runs / new_ulid() / "record.json", third)
    assert house.mentions.among(house.wanted, not_before=first[:10]) == house.wanted
