"""A clean-up on request works on a whole installation, also where the clock is told to leave it alone."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model_trainer.container import Container, local
from model_trainer.core.config import load_settings
from model_trainer.core.contracts.manifest import ArtifactFile
from model_trainer.maintenance.cleaning import CleanUp, clean_up
from tests.manifests import completed_manifest
from tests.unit.maintenance.test_corpus_cache_cleanup import Cache
from tests.unit.maintenance.tokenizers import completed_tokenizer

Make = Callable[..., Container]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """An installation in which everything is old enough at once, and nothing is cleaned by itself."""

    def made(*, dry_run: bool = False) -> Container:
        settings = load_settings(env_file=None)
        never: dict[str, object] = {"enabled": False, "dry_run": dry_run, "grace_period_seconds": 0}
        young: dict[str, object] = {"enabled": False, "min_unused_days": 0.0}
        app: dict[str, object] = {
            "artifacts_root": tmp_path / "artifacts",
            "runs_root": tmp_path / "runs",
            "cleanup": settings.app.cleanup.model_copy(update=never),
            "tokenizer_cleanup": settings.app.tokenizer_cleanup.model_copy(update=young),
        }
        return local(settings.model_copy(update={"app": settings.app.model_copy(update=app)}))

    return made


def tokenizer(container: Container) -> str:
    """A completed one, sealed."""
    record = completed_tokenizer(container)
    container.artifacts.keep_record(record)
    folder = container.artifacts.create("tokenizers", record.run_id)
    (folder / "tokenizer.json").write_text("1234567")
    digest = hashlib.sha256(b"1234567").hexdigest()
    file = ArtifactFile(path="tokenizer.json", num_bytes=7, sha256=digest)
    (folder / "manifest.json").write_text(
        completed_manifest("tokenizers", record.run_id, file).model_dump_json()
    )
    return record.run_id


def test_tokenizers_go(make: Make) -> None:
    container = make()
    tokenizer_id = tokenizer(container)

    (removal,) = clean_up(container, "tokenizers", dry_run=False)

    assert (removal.run_id, removal.fate) == (tokenizer_id, "removed")
    assert not container.artifacts.exists("tokenizers", tokenizer_id)


def test_artifacts_are_stored_before_their_local_copies_go(make: Make) -> None:
    container = make()
    tokenizer_id = tokenizer(container)

    (removal,) = clean_up(container, "artifacts", dry_run=False)

    assert (removal.run_id, removal.fate) == (tokenizer_id, "removed")
    assert container.artifacts.here("tokenizers", tokenizer_id) is None
    file_id = container.runs.get(tokenizer_id).artifact_file_id
    assert file_id is not None
    assert container.store.find(file_id) is not None
    assert container.artifacts.file("tokenizers", tokenizer_id, "tokenizer.json").read_text() == "1234567"


def test_the_corpus_cache_is_brought_within_its_bounds(make: Make) -> None:
    cache = Cache()

    removals = list(clean_up(replace(make(), corpus_cache=cache), "corpus-cache", dry_run=False))

    assert [removal.fate for removal in removals] == ["failed", "removed"]
    assert cache.removed == ["taken", "old"]


@pytest.mark.parametrize("what", ["tokenizers", "artifacts", "corpus-cache"])
@pytest.mark.parametrize("by_setting", [True, False])
def test_a_dry_run_whoever_asks_for_it_changes_nothing(make: Make, what: CleanUp, by_setting: bool) -> None:
    cache = Cache()
    container = replace(make(dry_run=by_setting), corpus_cache=cache)
    tokenizer_id = tokenizer(container)

    removals = list(clean_up(container, what, dry_run=not by_setting))

    assert {removal.fate for removal in removals} <= {"due"}
    assert container.artifacts.here("tokenizers", tokenizer_id) is not None
    assert container.runs.get(tokenizer_id).artifact_file_id is None
    assert cache.removed == []
