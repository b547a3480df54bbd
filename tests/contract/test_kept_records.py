"""What every artifact tree keeps of its installation, and of the records of its runs."""

import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.contracts.run import Phase, Progress, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from tests.contract.artifact_trees import ITEM, again, artifacts_root, runs_root


def test_an_installation_names_itself_once(tree: ArtifactTree) -> None:
    first = tree.installation_id()

    assert is_ulid(first)
    assert tree.installation_id() == first
    assert again(tree).installation_id() == first
    assert [path.name for path in artifacts_root(tree).glob("*.json")] == ["installation.json"]
    assert not list(artifacts_root(tree).glob(".*"))


def test_all_who_ask_at_once_get_the_same_name(tmp_path: Path) -> None:
    for place in range(10):
        start = threading.Barrier(8)

        def name(root: Path = tmp_path / str(place), start: threading.Barrier = start) -> str:
            start.wait()
            return LocalArtifactTree(root / "artifacts", root / "runs").installation_id()

        with ThreadPoolExecutor(8) as askers:
            names = {asked.result() for asked in [askers.submit(name) for _ in range(8)]}
        assert len(names) == 1


def test_a_link_into_nowhere_is_no_name_and_is_not_replaced(tree: ArtifactTree) -> None:
    link = artifacts_root(tree) / "installation.json"
    link.symlink_to("elsewhere.json")

    with pytest.raises(AppError, match="damaged"):
        tree.installation_id()

    assert link.is_symlink()
    assert not list(artifacts_root(tree).glob(".tmp-*"))


@pytest.mark.parametrize("damage", ["", "{}", '{"schema_version": 1, "installation_id": "mine"}'])
def test_a_damaged_name_is_not_made_anew(tree: ArtifactTree, damage: str) -> None:
    tree.installation_id()
    (artifacts_root(tree) / "installation.json").write_text(damage)

    with pytest.raises(AppError, match=r"copy installation_id from the manifest\.json of any run") as caught:
        again(tree).installation_id()

    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
    assert (artifacts_root(tree) / "installation.json").read_text() == damage


def test_a_record_is_kept_with_the_name_of_the_installation(tree: ArtifactTree) -> None:
    assert list(tree.kept_records()) == []

    kept = record(epoch=2, seq=7)
    tree.keep_record(kept)

    (found,) = tree.kept_records()
    assert (found.run_id, found.record, found.problem) == (ITEM, kept, None)
    assert found.installation_id == tree.installation_id()
    assert [path.name for path in (runs_root(tree) / ITEM).iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("late", "stays"),
    [((1, 9), (2, 7)), ((2, 6), (2, 7)), ((2, 7), (2, 7)), ((2, 8), (2, 8)), ((3, 1), (3, 1))],
)
def test_a_record_that_comes_late_does_not_replace_a_newer_one(
    tree: ArtifactTree, late: tuple[int, int], stays: tuple[int, int]
) -> None:
    tree.keep_record(record(epoch=2, seq=7))

    tree.keep_record(record(epoch=late[0], seq=late[1], message="late"))

    (found,) = tree.kept_records()
    assert found.record is not None
    assert (found.record.epoch, found.record.last_event_seq) == stays
    assert found.record.message == ("late" if late >= (2, 7) else "")


@pytest.mark.parametrize(("updated_at_ms", "stays"), [(1, ""), (2, "late"), (3, "late")])
def test_of_two_records_with_the_same_events_the_later_one_stays(
    tree: ArtifactTree, updated_at_ms: int, stays: str
) -> None:
    tree.keep_record(record(epoch=2, seq=7))

    late: dict[str, object] = {"updated_at_ms": updated_at_ms}
    tree.keep_record(record(epoch=2, seq=7, message="late").model_copy(update=late))

    (found,) = tree.kept_records()
    assert found.record is not None
    assert found.record.message == stays


def test_a_damaged_record_is_replaced(tree: ArtifactTree) -> None:
    tree.keep_record(record(epoch=2, seq=7))
    (runs_root(tree) / ITEM / "record.json").write_text("{")

    tree.keep_record(record(epoch=1, seq=1))

    (found,) = tree.kept_records()
    assert found.record == record(epoch=1, seq=1)


def test_records_that_cannot_be_read_come_with_the_reason_and_the_others_too(tree: ArtifactTree) -> None:
    ids = [f"01JD8Z3M6Q4T7V9XW2Y5A1B3C{n}" for n in range(6)]
    for run_id in reversed(ids):
        tree.keep_record(record(epoch=1, seq=1, run_id=run_id))
    files = [runs_root(tree) / run_id / "record.json" for run_id in ids]
    future = json.loads(files[1].read_text()) | {"schema_version": 2}
    files[1].write_text(json.dumps(future))
    files[2].write_bytes(files[2].read_bytes()[:-40])
    files[3].unlink()
    files[4].write_bytes(files[5].read_bytes())
    (runs_root(tree) / ".locks").mkdir()
    (runs_root(tree) / "notes.txt").write_text("not a run")

    found = list(tree.kept_records())

    assert [each.run_id for each in found] == ids
    whole = [each.record is not None and each.problem is None for each in found]
    assert whole == [True, False, False, False, False, True]
    problems = [each.problem or "" for each in found]
    assert "/schema_version" in problems[1]
    assert "does not fit" in problems[2]
    assert os.strerror(errno.ENOENT) in problems[3]
    assert ids[5] in problems[4]


def test_a_record_of_no_run_never_touches_the_disk(tree: ArtifactTree) -> None:
    with pytest.raises(AppError, match="ULID"):
        tree.keep_record(record(epoch=1, seq=1, run_id="../x"))


def record(*, epoch: int, seq: int, message: str = "", run_id: str = ITEM) -> RunRecord:
    return RunRecord(
        run_id=run_id,
        kind=RunKind.TRAIN,
        queue="training",
        family="gpt2",
        spec={"seed": 1},
        user_id=None,
        metadata={},
        parent_run_id=None,
        request_id="r-1",
        status=RunStatus.RUNNING,
        phase=Phase.TRAINING,
        message=message,
        reason=None,
        failure_class=None,
        problem=None,
        epoch=epoch,
        owner="worker-1",
        lease_until_ms=5,
        attempt=1,
        attempts=(),
        cancel_requested=False,
        created_at_ms=1,
        updated_at_ms=2,
        started_at_ms=2,
        finished_at_ms=None,
        heartbeat_at_ms=2,
        progress=Progress(),
        metrics={"loss": 0.1},
        result={},
        last_event_seq=seq,
    )
