"""A completed run with a sealed artifact, made by hand, and the parts that look after it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.manifest import ArtifactKind, Manifest
from model_trainer.core.contracts.run import Lease, Outcome, RunKind, RunRecord, RunStatus
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.stored_tree import StoredArtifactTree
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.manifests import read_manifest
from tests.faults.faulty_store import FaultyStore
from tests.unit.worker.bench import Bench

FILES: Mapping[str, bytes] = {
    "model.safetensors": bytes(range(256)) * 700,
    "config.json": b"{}\n",
    "eval/metrics.json": b'{"loss": 1.5}\n',
    "logs.jsonl": b'{"event": "one"}\n',
    "events.jsonl": b"",
}


@dataclass
class House:
    """Runs in memory, folders on a disk, and a store that can fail."""

    folder: Path
    bench: Bench = field(default_factory=Bench)

    def __post_init__(self) -> None:
        self.local = LocalArtifactTree(self.folder / "artifacts", self.folder / "runs")
        self.store = FaultyStore(self.bench.files)
        self.tree = StoredArtifactTree(self.local, store=self.store, record_of=self.bench.store.get)

    def begun(
        self,
        *,
        kind: ArtifactKind = "models",
        files: Mapping[str, bytes] = FILES,
        spec: JsonObject | None = None,
    ) -> tuple[RunRecord, Lease, ArtifactAccount]:
        """A run at work whose folder is sealed as done."""
        run_id = self.bench.submitted(
            kind=RunKind.TRAIN if kind == "models" else RunKind.TOKENIZER, spec=spec
        )
        epoch = self.bench.store.get(run_id).epoch
        lease = self.bench.store.claim(run_id, epoch=epoch, owner="w", host="h", lease_seconds=15)
        assert lease is not None
        folder = self.tree.create(kind, run_id)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        record = self.bench.store.get(run_id)
        account = ArtifactAccount(kind=kind, record=record, seed=1, folder=folder)
        account.seal_done(record, self.tree)
        return record, lease, account

    def completed(
        self,
        *,
        kind: ArtifactKind = "models",
        files: Mapping[str, bytes] = FILES,
        spec: JsonObject | None = None,
    ) -> str:
        """A run that has ended well."""
        record, lease, _ = self.begun(kind=kind, files=files, spec=spec)
        ended = self.bench.store.finish(lease, Outcome(status=RunStatus.COMPLETED, message="Done."))
        self.tree.keep_record(ended)
        return record.run_id

    def manifest(self, run_id: str, kind: ArtifactKind = "models") -> Manifest:
        return read_manifest(self.local.folder(kind, run_id))

    def content(self, run_id: str, kind: ArtifactKind = "models") -> dict[str, bytes]:
        """All files of its folder here."""
        folder = self.local.folder(kind, run_id)
        return {name: (folder / name).read_bytes() for name in self.local.files(kind, run_id)}

    def forget_copy(self, run_id: str, kind: ArtifactKind = "models") -> None:
        """Its folder leaves this machine."""
        assert self.local.remove(kind, run_id, if_still=always)

    def temporary(self) -> list[Path]:
        """What somebody has left unfinished."""
        return list(self.folder.rglob(".tmp-*"))


def always(_: Path) -> bool:
    return True


def fails_at(count: int, error: Exception) -> Callable[[object], None]:
    """A callback that raises the nth time it is called."""
    calls = 0

    def call(_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == count:
            raise error

    return call
