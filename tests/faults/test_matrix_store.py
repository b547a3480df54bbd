"""The artifact store away, slow, killed in between, damaged: nothing is lost, nothing goes too early, everything comes back.

Over a real Redis and real folders; the store is the local one behind a wrapper that fails.
"""

import json
import signal
import threading
from dataclasses import replace

import pytest

from model_trainer.container import Container
from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.run import RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import sha256_of
from model_trainer.infra.persistence.redis_references import RedisReferences
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.stored_tree import StoredArtifactTree
from model_trainer.maintenance.artifacts import ArtifactKeeper
from model_trainer.maintenance.chores import artifact_keeper, rebuild
from model_trainer.worker.dispatch import dispatch
from model_trainer.worker.manifests import read_manifest, verify
from tests.faults.attempts import OWNER, take_order
from tests.faults.conftest import Expect
from tests.faults.faulty_store import FaultyStore, StoreFault
from tests.faults.installation import SHORT, Installation, eventually, faults_of

pytestmark = pytest.mark.slow


class Shelf:
    """An installation whose store can fail, in this process."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.store = FaultyStore(installation.container.store)
        app = installation.settings.app
        self.local = LocalArtifactTree(app.artifacts_root, app.runs_root)
        tree = StoredArtifactTree(self.local, store=self.store, record_of=installation.container.runs.get)
        self.container: Container = replace(installation.container, store=self.store, artifacts=tree)

    def work(self, run_id: str, queue: str) -> None:
        """Carries the order of a run out in this process."""
        payload = take_order(self.installation.client, queue, run_id=run_id)
        assert payload is not None
        dispatch(payload, self.container.worker_parts(OWNER))

    def keeper(self) -> ArtifactKeeper:
        """Removes what it may, at once."""
        policy = self.installation.settings.app.cleanup.model_copy(
            update={"enabled": True, "grace_period_seconds": 0}
        )
        return artifact_keeper(self.container, policy=policy)

    def evict(self, run_id: str) -> None:
        """The folder leaves this machine as the maintenance process would take it away."""
        keeper = self.keeper()
        keeper.store_due()
        assert run_id in [removal.run_id for removal in keeper.remove_due() if removal.fate == "removed"]
        assert self.local.here("models", run_id) is None
        self.container.artifacts.folder("tokenizers", self.installation.tokenizer_id())  # for the next test

    def file_id(self, run_id: str) -> str:
        found = self.installation.get(run_id).artifact_file_id
        assert found is not None
        return found

    def digests(self, run_id: str) -> dict[str, str]:
        folder = self.local.folder("models", run_id)
        return {name: sha256_of(folder / name) for name in self.local.files("models", run_id)}


@pytest.fixture
def shelf(installation: Installation) -> Shelf:
    return Shelf(installation)


def trained(shelf: Shelf, key: str) -> str:
    run_id = shelf.installation.submit(SHORT, key=key)
    shelf.work(run_id, "training")
    assert shelf.installation.get(run_id).status is RunStatus.COMPLETED
    return run_id


def test_a_training_waits_for_a_store_that_is_away_and_loses_nothing(
    shelf: Shelf, installation: Installation, expected: Expect
) -> None:
    expectation = expected(SHORT)
    run_id = installation.submit(SHORT, key="store away")
    shelf.store.trouble.is_down = True
    work = threading.Thread(target=shelf.work, args=(run_id, "training"))
    work.start()
    eventually(lambda: "store is away" in installation.get(run_id).message, seconds=60)
    record = installation.get(run_id)
    assert (record.status, record.phase.value) == (RunStatus.RUNNING, "finalizing")
    assert verify(installation.model_folder(run_id)) == []
    shelf.store.trouble.is_down = False
    work.join(60)
    assert faults_of(installation, "store away", expected=expectation) == []
    assert installation.get(run_id).attempt == 1
    assert shelf.store.find(shelf.file_id(run_id)) is not None


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_store_that_fails_now_and_then_ends_with_every_digest_right(
    shelf: Shelf, installation: Installation, expected: Expect, share: float
) -> None:
    expectation, key = expected(SHORT), f"shaky store {share}"
    run_id = installation.submit(SHORT, key=key)
    shelf.store.trouble.script = [StoreFault.REFUSED, StoreFault.ANSWER_LOST, StoreFault.CUT]
    shelf.store.trouble.share = share / 10
    shelf.work(run_id, "training")
    shelf.store.trouble.share = 0.0
    assert faults_of(installation, key, expected=expectation) == []
    before = shelf.digests(run_id)
    shelf.evict(run_id)
    shelf.container.artifacts.folder("models", run_id)
    assert shelf.digests(run_id) == before


def test_a_disk_without_room_for_the_store_makes_the_run_wait_and_go_on(
    shelf: Shelf, installation: Installation, expected: Expect
) -> None:
    expectation = expected(SHORT)
    run_id = installation.submit(SHORT, key="store full")
    shelf.store.trouble.script = [StoreFault.FULL]
    shelf.work(run_id, "training")
    record = installation.get(run_id)
    assert record.status is RunStatus.PAUSED
    assert record.reason is not None
    assert record.reason.value == "disk_full"
    installation.finish(run_id)
    assert faults_of(installation, "store full", expected=expectation) == []


@pytest.mark.parametrize("point", ["upload.file_stored:kill@3", "upload.manifest_stored:kill"])
def test_a_worker_killed_while_it_stores_leaves_one_artifact_whole(
    shelf: Shelf, installation: Installation, point: str
) -> None:
    run_id = installation.submit(SHORT, key=point)
    killed = installation.work_elsewhere(run_id, failpoint=point)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert installation.get(run_id).artifact_file_id is None
    keeper = shelf.keeper()
    keeper.store_due()
    removed = [removal.run_id for removal in keeper.remove_due()]
    assert run_id not in removed, "nothing goes before its run has ended"
    installation.finish(run_id)
    folder = installation.model_folder(run_id)
    assert verify(folder) == []
    before = shelf.digests(run_id)
    shelf.evict(run_id)
    shelf.container.artifacts.folder("models", run_id)
    assert shelf.digests(run_id)["model.safetensors"] == before["model.safetensors"]
    assert verify(folder) == []


def test_a_model_that_has_left_is_evaluated_as_if_it_had_not(
    shelf: Shelf, installation: Installation
) -> None:
    run_id = trained(shelf, "evaluated from afar")
    before = shelf.digests(run_id)
    shelf.evict(run_id)
    started = shelf.container.evaluations.start(
        EvaluateSpec(split="validation"),
        parent=installation.get(run_id),
        request_id="r-1",
        idempotency=None,
    )
    evaluation_id = started.record.run_id
    shelf.work(evaluation_id, "short")
    assert installation.get(evaluation_id).status is RunStatus.COMPLETED, installation.get(evaluation_id)
    after = shelf.digests(run_id)
    assert after["model.safetensors"] == before["model.safetensors"]
    first = shelf.file_id(run_id)
    shelf.evict(run_id)
    assert shelf.file_id(run_id) != first
    found = shelf.container.artifacts.file("models", run_id, f"eval/{evaluation_id}/metrics.json")
    assert json.loads(found.read_bytes())["evaluation_id"] == evaluation_id
    assert verify(installation.model_folder(run_id)) == []


def test_a_damaged_file_of_the_store_is_named_and_nothing_of_it_used(
    shelf: Shelf, installation: Installation
) -> None:
    run_id = trained(shelf, "damaged")
    shelf.evict(run_id)
    manifest = json.loads(b"".join(shelf.store.read(shelf.file_id(run_id))))
    sha256 = next(file["sha256"] for file in manifest["files"] if file["path"] == "model.safetensors")
    place = installation.settings.app.artifacts_root / "store" / sha256[:2] / sha256[2:]
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.chmod(0o600)
    place.write_bytes(content)
    with pytest.raises(AppError) as caught:
        shelf.container.artifacts.folder("models", run_id)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
    assert shelf.local.here("models", run_id) is None
    assert not list(installation.settings.app.artifacts_root.rglob(".tmp-*"))
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    assert shelf.container.artifacts.folder("models", run_id).is_dir()


def test_after_redis_has_lost_everything_a_rebuild_knows_what_is_stored_and_needed(
    shelf: Shelf, installation: Installation
) -> None:
    run_id = trained(shelf, "rebuilt")
    shelf.evict(run_id)
    record, file_id = installation.get(run_id), shelf.file_id(run_id)
    events = installation.container.runs.events_after(run_id, after=0, limit=10_000)
    installation.client.call("FLUSHALL")
    rebuild(shelf.container, adopt=False)
    assert shelf.local.here("models", run_id) is None, "nothing is fetched for it"
    assert installation.get(run_id).artifact_file_id == file_id
    assert installation.client.call("GET", f"runs:artifact:{run_id}:file_id") == file_id
    assert installation.get(run_id).result == record.result
    assert installation.container.runs.events_after(run_id, after=0, limit=10_000) == events
    references = RedisReferences(installation.client)
    manifest = json.loads(b"".join(shelf.store.read(file_id)))
    for sha256 in (file_id, *(file["sha256"] for file in manifest["files"])):
        assert run_id in references.referred_by(f"file:{sha256}", limit=100)
    tokenizer_id = installation.tokenizer_id()
    assert run_id in references.referred_by(f"tokenizer:{tokenizer_id}", limit=100)
    assert read_manifest(shelf.container.artifacts.folder("models", run_id)).status == "completed"
