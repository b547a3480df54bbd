"""Tokenizers that nothing was made with go; one that somebody needs, or is about to need, stays."""

from pathlib import Path

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import RunKind, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.maintenance.mentions import RUNS_A_PAGE
from model_trainer.maintenance.tokenizer_cleanup import AT_ONCE
from tests.unit.maintenance.tokenizer_house import House

NEVER_MADE = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
"""The id of a run that was to be ordered in 2016."""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_tokenizer_that_nothing_was_made_with_goes_and_leaves_nothing(house: House) -> None:
    tokenizer_id = house.tokenizer()
    place = house.artifacts.folder("tokenizers", tokenizer_id)

    number, lines = house.clean()

    assert number == 1
    assert not house.has(tokenizer_id)
    assert list(place.parent.iterdir()) == []
    assert list(house.kept_runs.iterdir()) == []
    (line,) = lines
    assert line["event"] == "cleanup_completed"
    assert (line["run_id"], line["path"]) == (tokenizer_id, str(place))
    assert (line["bytes_freed"], line["files_deleted"], line["dry_run"]) == (10, 2, False)


def test_a_younger_one_stays(house: House) -> None:
    tokenizer_id = house.tokenizer()

    assert house.clean(days=41) == (0, [])
    assert house.has(tokenizer_id)


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.FAILED])
def test_one_that_is_not_completed_is_no_unused_tokenizer(house: House, status: RunStatus) -> None:
    tokenizer_id = house.tokenizer(status=status)

    assert house.clean() == (0, [])
    assert house.has(tokenizer_id)


def test_one_that_a_run_was_ordered_with_stays_however_the_run_ended(house: House) -> None:
    used, unused = house.tokenizer(), house.tokenizer()
    house.run(RunKind.TRAIN, status=RunStatus.FAILED, tokenizer_id=used)

    assert house.clean()[0] == 1
    assert (house.has(used), house.has(unused)) == (True, False)


def test_one_that_a_model_on_disk_was_made_with_stays(house: House) -> None:
    tokenizer_id = house.tokenizer()
    folder = house.artifacts.create("models", new_ulid())
    (folder / "manifest.json").write_text(f'{{"tokenizer_id": "{tokenizer_id}"}}')

    assert house.clean() == (0, [])
    assert house.has(tokenizer_id)


def test_more_than_a_page_of_them_go_at_once(house: House) -> None:
    tokenizers = [house.run(RunKind.TOKENIZER) for _ in range(RUNS_A_PAGE + AT_ONCE + 1)]

    assert house.clean()[0] == len(tokenizers)
    assert not house.runs.status_counts().get(("tokenizer", "completed"))


def test_a_dry_run_tells_what_would_go_and_removes_nothing(house: House) -> None:
    free, ordered = house.tokenizer(), house.tokenizer()
    house.references.refer(new_ulid(), [f"tokenizer:{ordered}"])

    number, lines = house.clean(dry_run=True)

    assert number == 0
    assert [(line["event"], line["run_id"], line["bytes_freed"]) for line in lines] == [
        ("cleanup_dry_run", free, 10)
    ]
    assert house.has(free)
    house.references.refer(new_ulid(), [f"tokenizer:{free}"])


def test_a_run_that_is_being_ordered_keeps_its_tokenizer(house: House) -> None:
    tokenizer_id = house.tokenizer()
    house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])

    assert house.clean() == (0, [])
    assert house.has(tokenizer_id)


def test_an_order_whose_sender_died_long_ago_keeps_nothing(house: House) -> None:
    tokenizer_id = house.tokenizer()
    house.references.refer(NEVER_MADE, [f"tokenizer:{tokenizer_id}"])
    house.references.refer(house.run(RunKind.TRAIN), [f"tokenizer:{tokenizer_id}"])
    assert house.clean() == (0, [])
    assert len(house.references.referred_by(f"tokenizer:{tokenizer_id}", limit=5)) == 1

    other = house.tokenizer()
    house.references.refer(NEVER_MADE, [f"tokenizer:{other}"])
    assert house.clean()[0] == 1
    assert (house.has(tokenizer_id), house.has(other)) == (True, False)


def test_who_orders_during_the_removal_is_refused_and_later_finds_it_gone(house: House) -> None:
    tokenizer_id = house.tokenizer()
    refused: list[ErrorCode] = []

    def order() -> None:
        with pytest.raises(AppError) as caught:
            house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])
        refused.append(caught.value.code)

    house.mentions.meanwhile = order
    assert house.clean()[0] == 1
    assert refused == [ErrorCode.CONFLICT]

    house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])
    assert not house.has(tokenizer_id)


def test_while_another_clean_up_is_at_it_a_tokenizer_stays_and_its_mark_too(house: House) -> None:
    tokenizer_id, other = house.tokenizer(), house.tokenizer()
    thing = f"tokenizer:{tokenizer_id}"
    house.references.begin_removal(thing, owner="another", seconds=60)

    assert house.clean()[0] == 1
    assert (house.has(tokenizer_id), house.has(other)) == (True, False)
    with pytest.raises(AppError):
        house.references.refer(new_ulid(), [thing])


def test_a_run_that_came_between_the_two_looks_keeps_it(house: House) -> None:
    tokenizer_id, other = house.tokenizer(), house.tokenizer()
    house.mentions.meanwhile = lambda: void(house.run(RunKind.TRAIN, tokenizer_id=tokenizer_id))

    assert house.clean()[0] == 1

    assert (house.has(tokenizer_id), house.has(other)) == (True, False)
    house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])


def void(_value: object) -> None:
    """Nobody needs it."""


def test_one_that_somebody_reads_stays_until_they_are_done(house: House) -> None:
    tokenizer_id = house.tokenizer()

    with house.artifacts.use("tokenizers", tokenizer_id):
        assert house.clean() == (0, [])
        assert house.has(tokenizer_id)

    assert house.clean()[0] == 1
