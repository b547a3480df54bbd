"""Two machines that add to one artifact: neither loses what the other has added."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from structlog.testing import capture_logs

from model_trainer.core.config import load_settings
from model_trainer.core.contracts.files import StoredFile
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import Revision
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.store import ArtifactStore
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.stored_tree import StoredArtifactTree
from model_trainer.maintenance.artifacts import ArtifactKeeper
from model_trainer.maintenance.leftovers import alone_with
from model_trainer.worker.manifests import append_revision, read_manifest, seal_again, verify
from model_trainer.worker.storing import Layout
from tests.faults.faulty_store import FaultyStore
from tests.unit.worker.sealed import FILES, House


class Put(Protocol):
    """Of a store."""

    def __call__(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile: ...


LAYOUTS: tuple[Layout, ...] = ("files", "tarball")
WITH_WEIGHTS = {**FILES, "model/weights": b"w", "calibration.json": b"first"}


@dataclass
class Machine:
    """A disk, and who looks after it."""

    house: House
    name: str
    layout: Layout

    def __post_init__(self) -> None:
        root = self.house.folder / self.name
        self.local = LocalArtifactTree(root / "artifacts", root / "runs")
        self.tree = StoredArtifactTree(
            self.local, store=self.house.store, record_of=self.house.bench.store.get
        )
        self.keeper = self.keeper_over(self.house.store)

    def keeper_over(self, store: ArtifactStore) -> ArtifactKeeper:
        policy = load_settings(env_file=None).app.cleanup
        now: dict[str, object] = {"enabled": True, "grace_period_seconds": 0}
        return ArtifactKeeper(
            root=self.house.folder / self.name / "artifacts",
            runs=self.house.bench.store,
            artifacts=self.tree,
            store=store,
            references=self.house.bench.references,
            layout=self.layout,
            policy=policy.model_copy(update=now),
            now=lambda: 1e11,
        )

    def here(self, run_id: str) -> Path:
        return self.local.folder("models", run_id)

    def evaluate(self, run_id: str) -> str:
        """A job that leaves a folder of its own."""
        job_id = new_ulid()
        with self.tree.use("models", run_id) as folder:
            (folder / "eval" / job_id).mkdir()
            (folder / "eval" / job_id / "metrics.json").write_bytes(job_id.encode())
            self._tell(folder, "evaluate_model", job_id, at="2026-01-01T00:00:00.000+00:00")
        return f"eval/{job_id}/metrics.json"

    def calibrate(self, run_id: str, *, at: str) -> None:
        """A job that replaces a file of the model."""
        with self.tree.use("models", run_id) as folder:
            (folder / "calibration.json").write_bytes(f"{self.name} {at}".encode())
            seal_again(folder, {})
            self._tell(folder, "calibrate_model", new_ulid(), at=at)

    def _tell(self, folder: Path, job: str, job_id: str, *, at: str) -> None:
        append_revision(folder, Revision(job=job, job_id=job_id, created_at=at, files=()))


@dataclass
class Two:
    """Two machines with the same model, as it was stored once."""

    house: House
    a: Machine
    b: Machine
    run_id: str

    def settle(self) -> None:
        """Both have looked often enough."""
        for _ in range(3):
            self.a.keeper.store_due()
            self.b.keeper.store_due()

    def file_id(self) -> str:
        found = self.house.bench.store.get(self.run_id).artifact_file_id
        assert found is not None
        return found

    def stored(self) -> Path:
        """What a third machine gets."""
        third = Machine(self.house, new_ulid(), "files")
        with third.tree.use("models", self.run_id) as folder:
            assert verify(folder) == []
            return folder


@pytest.fixture(params=LAYOUTS)
def two(tmp_path: Path, request: pytest.FixtureRequest) -> Two:
    layout: Layout = "files" if request.param == "files" else "tarball"
    house = House(tmp_path)
    run_id = house.completed(files=WITH_WEIGHTS)
    first = Machine(house, ".", layout)
    first.keeper.store_due()
    two = Two(house, Machine(house, "a", layout), Machine(house, "b", layout), run_id)
    for machine in (two.a, two.b):
        machine.tree.folder("models", run_id)
    return two


def test_what_both_have_added_is_stored(two: Two) -> None:
    ours, theirs = two.a.evaluate(two.run_id), two.b.evaluate(two.run_id)
    two.settle()
    folder = two.stored()
    assert (folder / ours).is_file()
    assert (folder / theirs).is_file()
    assert len(read_manifest(folder).revisions) == 2
    assert two.house.temporary() == []


def test_once_both_know_all_nothing_is_stored_again(two: Two) -> None:
    for machine in (two.a, two.b):
        machine.evaluate(two.run_id)
    two.settle()
    address = two.file_id()
    two.house.store.calls.clear()
    two.settle()
    assert two.file_id() == address
    assert two.house.store.calls == []


def test_a_copy_that_is_only_older_is_brought_up_to_date_by_its_next_use(two: Two) -> None:
    added = two.a.evaluate(two.run_id)
    two.settle()
    with two.b.tree.use("models", two.run_id) as folder:
        assert (folder / added).is_file()


def test_a_copy_that_is_only_older_may_go(two: Two) -> None:
    two.a.evaluate(two.run_id)
    two.a.keeper.store_due()
    if two.a.layout == "tarball":
        two.b.keeper.store_due()  # nobody knows what a tarball has unless it is fetched
    assert [removal.fate for removal in two.b.keeper.remove_due()] == ["removed"]


@pytest.mark.parametrize("two", ["files"], indirect=True)
def test_a_copy_that_is_only_older_stays_while_the_newer_is_damaged(two: Two) -> None:
    added = two.a.evaluate(two.run_id)
    two.a.keeper.store_due()
    victim = next(f for f in read_manifest(two.a.here(two.run_id)).revisions[-1].files if f.path == added)
    two.house.bench.files.delete(victim.sha256)
    assert [removal.fate for removal in two.b.keeper.remove_due()] == ["failed"]
    assert [removal.fate for removal in two.a.keeper.remove_due()] == ["removed"], "it heals the store first"


@pytest.mark.parametrize("later", ["a", "b"])
def test_of_two_calibrations_the_later_one_counts(two: Two, later: str) -> None:
    times = {"a": "2026-01-01T00:00:00.000+00:00", "b": "2026-01-02T00:00:00.000+00:00"}
    if later == "a":
        times = {"a": times["b"], "b": times["a"]}
    two.a.calibrate(two.run_id, at=times["a"])
    two.b.calibrate(two.run_id, at=times["b"])
    two.settle()
    assert (two.stored() / "calibration.json").read_text() == f"{later} {times[later]}"
    assert len(read_manifest(two.stored()).revisions) == 2


def test_a_calibration_elsewhere_is_not_undone_by_an_evaluation_here(two: Two) -> None:
    two.a.calibrate(two.run_id, at="2026-01-01T00:00:00.000+00:00")
    two.a.keeper.store_due()
    with capture_logs() as lines:
        added = _evaluated_before_it_knew(two)
    folder = two.stored()
    assert (folder / "calibration.json").read_text().startswith("a ")
    assert (folder / added).is_file()
    assert "artifact_merged" in [line["event"] for line in lines]


def _evaluated_before_it_knew(two: Two) -> str:
    """The evaluation on the other machine had begun before the calibration was stored."""
    away = StoredArtifactTree(two.b.local, store=two.house.store, record_of=_not_had)
    tree, two.b.tree = two.b.tree, away
    added = two.b.evaluate(two.run_id)
    two.b.tree = tree
    two.settle()
    return added


def _not_had(_: str) -> RunRecord:
    raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")


@pytest.mark.parametrize("longer", ["a", "b"])
def test_the_longer_log_stays(two: Two, longer: str) -> None:
    for machine in (two.a, two.b):
        folder = machine.here(two.run_id)
        with (folder / "logs.jsonl").open("ab") as log:
            log.write(b"more\n" * (2 if machine.name == longer else 1))
        seal_again(folder, {})
    two.settle()
    assert (two.stored() / "logs.jsonl").read_bytes() == FILES["logs.jsonl"] + b"more\n" * 2


def test_while_a_job_changes_the_model_here_nothing_is_taken_over(two: Two) -> None:
    theirs = two.a.evaluate(two.run_id)
    ours = two.b.evaluate(two.run_id)
    two.a.keeper.store_due()
    address = two.file_id()
    with alone_with(two.b.here(two.run_id) / "model"):
        two.b.keeper.store_due()
    assert two.file_id() == address
    assert not (two.b.here(two.run_id) / theirs).exists()
    two.b.keeper.store_due()
    folder = two.stored()
    assert (folder / theirs).is_file()
    assert (folder / ours).is_file()


def test_what_cannot_be_had_of_theirs_is_said_and_neither_side_loses_anything(two: Two) -> None:
    theirs = two.a.evaluate(two.run_id)
    ours = two.b.evaluate(two.run_id)
    two.a.keeper.store_due()
    address = two.file_id()
    sha256 = read_manifest(two.a.here(two.run_id)).revisions[0].files[0].sha256
    victim = address if two.a.layout == "tarball" else sha256
    whole = b"".join(two.house.bench.files.read(victim))
    two.house.bench.files.damage(victim, whole[:-1] + b"?")
    with capture_logs() as lines:
        two.b.keeper.store_due()
    assert "artifact_not_stored" in [line["event"] for line in lines]
    assert two.file_id() == address
    assert (two.a.here(two.run_id) / theirs).is_file()
    assert (two.b.here(two.run_id) / ours).is_file()
    assert two.b.keeper.remove_due() == ()


def test_who_comes_second_leaves_nothing_of_its_own_behind_and_takes_over_the_next_time(two: Two) -> None:
    theirs, ours = two.a.evaluate(two.run_id), two.b.evaluate(two.run_id)
    store, put = two.house.store, two.house.store.put
    is_done = False

    def put_late(path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        nonlocal is_done
        if not is_done:
            is_done = True
            two.a.keeper.store_due()
        return put(path, file_id=file_id, num_bytes=num_bytes)

    two.b.keeper = two.b.keeper_over(Watched(two.house.bench.files, put_late))
    two.b.keeper.store_due()
    address = two.file_id()
    in_store = {file.file_id for file in two.house.bench.files.list_files(limit=1000).files}
    accounts = {each for each in in_store if _is_account(b"".join(store.read(each)))}
    assert accounts == {address}
    two.settle()
    folder = two.stored()
    assert (folder / ours).is_file()
    assert (folder / theirs).is_file()


def _is_account(content: bytes) -> bool:
    return content.startswith((b"manifest.json", b'{\n  "attempts"'))


class Watched(FaultyStore):
    """Something happens in the middle of a put."""

    def __init__(self, store: ArtifactStore, put: Put) -> None:
        super().__init__(store)
        self._instead = put

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        return self._instead(path, file_id=file_id, num_bytes=num_bytes)
