"""What comes between a clean-up of tokenizers and its end: faults, outages, and others at the same work."""

from pathlib import Path

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import ArtifactFile, Revision
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory_references import MemoryReferences
from tests.manifests import completed_manifest
from tests.unit.maintenance.tokenizer_house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def manifest_of(tokenizer_id: str) -> bytes:
    later = ArtifactFile(path="e.json", num_bytes=1, sha256="b" * 64)
    manifest = completed_manifest(
        "tokenizers",
        tokenizer_id,
        ArtifactFile(path="tokenizer.json", num_bytes=7, sha256="a" * 64),
        revisions=(Revision(job="evaluate", job_id="J", created_at="2026-01-02T00:00:00Z", files=(later,)),),
    )
    return manifest.model_dump_json().encode()


def test_what_cannot_be_removed_is_told_and_the_rest_goes(house: House) -> None:
    stuck, other = house.tokenizer(), house.tokenizer()
    house.artifacts.stuck = stuck

    number, lines = house.clean()

    assert number == 1
    assert (house.has(stuck), house.has(other)) == (True, False)
    failed = [line for line in lines if line["event"] == "cleanup_failed"]
    assert [(line["run_id"], line["detail"]) for line in failed] == [(stuck, "Operation not permitted")]


def test_while_a_manifest_cannot_be_read_nothing_goes(house: House) -> None:
    tokenizer_id = house.tokenizer()
    unreadable = house.artifacts.create("models", new_ulid()) / "manifest.json"
    unreadable.mkdir()

    number, lines = house.clean()

    assert number == 0
    assert [(line["event"], line["path"]) for line in lines] == [("cleanup_failed", str(unreadable))]
    assert house.has(tokenizer_id)


def test_a_removal_that_was_cut_off_is_finished_in_the_next_round(house: House) -> None:
    tokenizer_id = house.tokenizer()
    house.runs.forgets = False
    with pytest.raises(AppError, match="Away"):
        house.clean()
    assert not house.artifacts.exists("tokenizers", tokenizer_id)
    house.runs.forgets = True

    number, lines = house.clean()

    assert number == 1
    assert not house.has(tokenizer_id)
    assert lines[0]["bytes_freed"] == 0
    house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])


def test_a_store_that_goes_away_ends_the_round_and_leaves_no_mark(house: House) -> None:
    tokenizer_id = house.tokenizer()

    def go_away() -> None:
        house.runs.away = True

    house.mentions.meanwhile = go_away
    with pytest.raises(AppError, match="Away"):
        house.clean()
    house.runs.away = False

    assert house.has(tokenizer_id)
    house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])


def test_where_nobody_can_say_who_needs_it_a_tokenizer_stays(house: House) -> None:
    class Away(MemoryReferences):
        def begin_removal(self, thing: str, *, owner: str, seconds: float) -> tuple[str, ...]:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")

    tokenizer_id, house.references = house.tokenizer(), Away()
    with pytest.raises(AppError, match="Away"):
        house.clean()

    assert house.has(tokenizer_id)


def test_one_that_somebody_has_brought_back_meanwhile_goes_all_the_same(house: House) -> None:
    tokenizer_id = house.tokenizer()

    def bring_back(run_id: str) -> None:
        (house.artifacts.create("tokenizers", run_id) / "tokenizer.json").write_text("1234567")

    house.runs.before_forgetting = bring_back

    assert house.clean()[0] == 1
    assert not house.has(tokenizer_id)
    assert list(house.kept_runs.iterdir()) == []


def test_another_clean_up_may_be_faster(house: House) -> None:
    tokenizer_id = house.tokenizer()

    def lose() -> None:
        house.runs.lost = frozenset({tokenizer_id})

    house.mentions.meanwhile = lose

    assert house.clean() == (0, [])


@pytest.mark.parametrize("is_here", [True, False])
def test_the_stored_copy_may_be_deleted_once_the_tokenizer_has_gone(house: House, is_here: bool) -> None:
    tokenizer_id = house.tokenizer()
    folder = house.artifacts.folder("tokenizers", tokenizer_id)
    manifest = manifest_of(tokenizer_id)
    things = house.store_it(tokenizer_id, manifest)
    (folder / "manifest.json").write_bytes(manifest)
    if not is_here:
        assert house.artifacts.remove("tokenizers", tokenizer_id, if_still=lambda _: True)

    assert house.clean()[0] == 1

    assert [house.references.referred_by(thing, limit=1) for thing in things] == [()] * 4


@pytest.mark.parametrize("stored", [b"a tarball", b"{torn", None])
def test_of_a_copy_that_cannot_be_looked_into_the_copy_alone_is_let_go(
    house: House, stored: bytes | None
) -> None:
    tokenizer_id = house.tokenizer()
    first, *others, corpus = house.store_it(tokenizer_id, stored or b"lost")
    if stored is None:
        house.store.delete(first.removeprefix("file:"))

    assert house.clean()[0] == 1

    assert house.references.referred_by(first, limit=1) == ()
    assert house.references.referred_by(corpus, limit=1) == ()
    assert all(house.references.referred_by(thing, limit=1) for thing in others)


def test_while_the_artifact_store_is_away_a_stored_tokenizer_stays(house: House) -> None:
    tokenizer_id = house.tokenizer()
    house.store_it(tokenizer_id, manifest_of(tokenizer_id))
    house.store.away = True

    with pytest.raises(AppError, match="Away"):
        house.clean()
    assert house.has(tokenizer_id)

    house.store.away = False
    assert house.clean()[0] == 1
