"""Completed runs in a store, stored once or once more, for tests of copies here."""

from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.worker.account import point_to
from model_trainer.worker.storing import Layout, read_form, store_artifact
from tests.unit.worker.sealed import House

LAYOUTS: tuple[Layout, ...] = ("files", "tarball")


def stored(
    house: House, *, kind: ArtifactKind = "models", layout: Layout = "files", only: str = "both"
) -> str:
    """A completed run that is in the store; who says so: its record, its pointer, both."""
    run_id = house.completed(kind=kind)
    return store_again(house, run_id, kind=kind, layout=layout, only=only)


def store_again(
    house: House, run_id: str, *, kind: ArtifactKind = "models", layout: Layout = "files", only: str = "both"
) -> str:
    folder = house.local.folder(kind, run_id)
    form = read_form(folder, kind=kind, item_id=run_id)
    artifact = store_artifact(form, folder, house.store, layout=layout, refer=lambda _: None)
    record = house.bench.store.get(run_id)
    if only in ("both", "record"):
        record = house.bench.store.point_at_artifact(run_id, file_id=artifact.file_id, epoch=None)
    if only in ("both", "pointer"):
        point_to(record, house.tree, kind=kind, stored=artifact)
    return run_id


def address(house: House, run_id: str) -> str:
    found = house.bench.store.get(run_id).artifact_file_id
    assert found is not None
    return found
