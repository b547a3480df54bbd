""""""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from model_trainer.core.contracts.base import parse_json_object
from model_trainer.core.contracts.manifest import ArtifactFile, Manifest, Revision
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.worker.manifests import (
    append_revision,
    read_manifest,
    seal,
    seal_again,
    take_over,
    verify,
)
from tests.manifests import completed_manifest


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def _manifest() -> Manifest:
    return completed_manifest(
        "models",
        "item",
        spec={"b": 1, "a": {"d": [{"z": 1, "y": 2}], "c": None}},
        libraries={"torch": "2", "numpy": "1"},
    )


def _revision(job_id: str, *files: ArtifactFile) -> Revision:
    return Revision(
        job="evaluate_model", job_id=job_id, created_at="2026-01-02T00:00:00.000+00:00", files=files
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "item"
    (folder / "checkpoints" / "step-1").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    (folder / "logs.jsonl").write_text('{"line": 1}\n')
    (folder / "checkpoints" / "step-1" / "state").write_bytes(b"state")
    return folder


def _write_evaluation(folder: Path, job_id: str) -> None:
    (folder / "eval" / job_id).mkdir(parents=True)
    (folder / "eval" / job_id / "metrics.json").write_text(job_id)


def test_sealing_accounts_for_every_file_but_the_manifest_sorted_by_path(folder: Path) -> None:
    seal(folder, _manifest())
    sealed = seal(folder, _manifest())
    assert [file.path for file in sealed.files] == [
        "checkpoints/step-1/state",
        "logs.jsonl",
        "model.safetensors",
    ]
    weights = sealed.files[2]
    assert weights.num_bytes == 700
    assert weights.sha256 == hashlib.sha256(b"weights" * 100).hexdigest()
    assert read_manifest(folder) == sealed
    assert verify(folder) == []


@pytest.mark.parametrize(("status", "found"), [("running", []), ("completed", ["events.jsonl"])])
def test_a_log_that_begins_after_the_seal_is_no_fault_of_a_run_that_goes_on(
    folder: Path, status: str, found: list[str]
) -> None:
    seal(folder, _manifest().model_copy(update={"status": status}))
    (folder / "events.jsonl").write_text("{}\n")
    assert [mismatch.path for mismatch in verify(folder)] == found


def test_sealing_again_reads_only_what_was_touched_since(folder: Path) -> None:
    sealed = seal(folder, _manifest())
    (folder / "logs.jsonl").write_text('{"line": 2}\n')
    (folder / "new.json").write_text("{}")
    (folder / "checkpoints" / "step-1" / "state").unlink()
    known = next(file for file in sealed.files if file.path == "model.safetensors")
    marked = known.model_copy(update={"sha256": "as it stood"})
    _replace_listed(folder, marked)

    again = seal_again(folder, {"status": "failed"})

    assert again == read_manifest(folder)
    assert again.status == "failed"
    assert [file.path for file in again.files] == ["logs.jsonl", "model.safetensors", "new.json"]
    assert again.files[1] == marked, "not read again"
    assert [mismatch.path for mismatch in verify(folder)] == ["model.safetensors"]


@pytest.mark.parametrize("content", [b"Weights" * 100, b"weights" * 99])
def test_sealing_again_sees_a_file_that_was_rewritten(folder: Path, content: bytes) -> None:
    seal(folder, _manifest())
    before = (folder / "model.safetensors").stat()
    (folder / "model.safetensors").write_bytes(content)
    os.utime(folder / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))

    seal_again(folder, {})

    assert verify(folder) == []


def _replace_listed(folder: Path, file: ArtifactFile) -> None:
    manifest = read_manifest(folder)
    files = tuple(file if each.path == file.path else each for each in manifest.files)
    changed = manifest.model_copy(update={"files": files})
    (folder / "manifest.json").write_text(changed.model_dump_json())
    for path in (folder / "logs.jsonl", folder / "new.json"):
        path.touch()  # after the manifest


def test_temporary_files_and_links_are_no_part_of_an_artifact(folder: Path) -> None:
    (folder / ".tmp-1").write_text("half")
    (folder / "checkpoints" / ".tmp-2").mkdir()
    (folder / "checkpoints" / ".tmp-2" / "state").write_text("half")
    (folder / "link").symlink_to(folder / "model.safetensors")
    assert len(seal(folder, _manifest()).files) == 3


def test_a_manifest_deeper_down_is_a_file_like_others(folder: Path) -> None:
    (folder / "checkpoints" / "step-1" / "manifest.json").write_text("{}")
    assert "checkpoints/step-1/manifest.json" in [file.path for file in seal(folder, _manifest()).files]


def test_the_same_facts_are_the_same_bytes(folder: Path) -> None:
    seal(folder, _manifest())
    first = (folder / "manifest.json").read_bytes()
    other = _manifest().model_copy(
        update={
            "spec": {"a": {"c": None, "d": [{"y": 2, "z": 1}]}, "b": 1},
            "libraries": {"numpy": "1", "torch": "2"},
        }
    )
    seal(folder, other)
    assert (folder / "manifest.json").read_bytes() == first
    assert first.endswith(b"}\n")
    assert list(parse_json_object(first)) == sorted(parse_json_object(first))


def _shorten(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def _flip(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"Weights" + b"weights" * 99)


def _lengthen(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights" * 101)


def _remove(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _add(folder: Path) -> None:
    (folder / "model.bin").touch()


def _rewrite_logs(folder: Path) -> None:
    (folder / "logs.jsonl").write_text('{"line": 2}\n{"line": 3}\n')


def _cut_logs(folder: Path) -> None:
    (folder / "logs.jsonl").write_text('{"lin')


@pytest.mark.parametrize(
    ("change", "path", "why"),
    [
        (_shorten, "model.safetensors", "size"),
        (_lengthen, "model.safetensors", "size"),
        (_flip, "model.safetensors", "digest"),
        (_remove, "model.safetensors", "missing"),
        (_add, "model.bin", "unlisted"),
        (_rewrite_logs, "logs.jsonl", "digest"),
        (_cut_logs, "logs.jsonl", "size"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    folder: Path, change: Callable[[Path], None], path: str, why: str
) -> None:
    seal(folder, _manifest())
    change(folder)
    assert [(found.path, found.why) for found in verify(folder)] == [(path, why)]


def test_logs_may_grow_after_sealing(folder: Path) -> None:
    seal(folder, _manifest())
    _append(folder / "logs.jsonl", '{"line": 2}')
    assert verify(folder) == []


def test_a_later_job_adds_the_files_of_its_own_folder(folder: Path) -> None:
    sealed = seal(folder, _manifest())
    _write_evaluation(folder, "first")
    _write_evaluation(folder, "second")
    revised = append_revision(folder, _revision("first"))
    assert revised.files == sealed.files
    assert [file.path for file in revised.revisions[0].files] == ["eval/first/metrics.json"]
    assert [(found.path, found.why) for found in verify(folder)] == [("eval/second/metrics.json", "unlisted")]
    append_revision(folder, _revision("second"))
    assert [revision.job_id for revision in read_manifest(folder).revisions] == ["first", "second"]
    assert verify(folder) == []


def test_files_a_later_job_names_itself_are_taken(folder: Path) -> None:
    seal(folder, _manifest())
    named = ArtifactFile(path="model.onnx", num_bytes=3, sha256="x")
    assert append_revision(folder, _revision("export", named)).revisions[0].files == (named,)


def test_a_job_that_ends_twice_is_one_revision(folder: Path) -> None:
    seal(folder, _manifest())
    _write_evaluation(folder, "first")
    append_revision(folder, _revision("first"))
    (folder / "eval" / "first" / "metrics.json").write_text("again")
    append_revision(folder, _revision("first"))
    assert len(read_manifest(folder).revisions) == 1
    assert verify(folder) == []


def test_a_revision_does_not_whitewash_what_was_sealed(folder: Path) -> None:
    seal(folder, _manifest())
    _flip(folder)
    append_revision(folder, _revision("first"))
    assert [found.why for found in verify(folder)] == ["digest"]


def test_revisions_that_arrive_together_are_all_kept(folder: Path) -> None:
    seal(folder, _manifest())
    ids = [f"job{number}" for number in range(12)]
    threads = [threading.Thread(target=append_revision, args=(folder, _revision(job_id))) for job_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(revision.job_id for revision in read_manifest(folder).revisions) == sorted(ids)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_a_missing_or_damaged_manifest_is_said(folder: Path, content: bytes | None) -> None:
    if content is not None:
        (folder / "manifest.json").write_bytes(content)
    for act in (read_manifest, verify, lambda each: append_revision(each, _revision("x"))):
        with pytest.raises(AppError) as caught:
            act(folder)
        assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_a_log_that_grows_while_it_is_sealed_verifies(folder: Path) -> None:
    log = folder / "logs.jsonl"
    log.write_bytes(b"x" * 20_000_000)  # so that reading it takes a while
    sealed = threading.Event()

    def grow() -> None:
        while not sealed.is_set():
            _append(log, "more")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        seal(folder, _manifest())
    finally:
        sealed.set()
        writer.join()
    assert verify(folder) == []


def test_a_file_that_was_sealed_half_written_counts_as_its_job_left_it(folder: Path) -> None:
    seal(folder, _manifest())
    half = folder / "eval" / "first"
    half.mkdir(parents=True)
    (half / "metrics.json").write_bytes(b"{")
    seal_again(folder, {})
    (half / "metrics.json").write_bytes(b"{}\n")
    append_revision(folder, _revision("first"))
    assert verify(folder) == []


def test_what_has_come_from_another_copy_is_listed_with_its_jobs(folder: Path) -> None:
    theirs = seal(folder, _manifest())
    (folder / "late.json").write_bytes(b"{}")
    late = ArtifactFile(path="late.json", num_bytes=2, sha256=hashlib.sha256(b"{}").hexdigest())
    update: dict[str, object] = {"files": (late,), "revisions": (_revision("first"),)}
    merged = take_over(folder, [late], theirs.model_copy(update=update))
    assert read_manifest(folder) == merged
    assert [each.job_id for each in merged.revisions] == ["first"]
    assert verify(folder) == []
    written = (folder / "manifest.json").stat().st_ino
    take_over(folder, [late], merged)
    assert (folder / "manifest.json").stat().st_ino == written, "the same facts are not written again"
