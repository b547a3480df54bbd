from pathlib import Path

from structlog.testing import capture_logs

from model_trainer.worker.leftovers import sweep


def test_everything_temporary_goes_and_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".tmp-not-ours").write_text("x")
    folder = tmp_path / "run"
    (folder / "a" / ".tmp-deep").mkdir(parents=True)
    (folder / "a" / "kept.json").write_text("{}")
    (folder / "linked").symlink_to(elsewhere)
    (folder / ".tmp-link").symlink_to(elsewhere)
    assert sweep(folder) == 2
    assert (elsewhere / ".tmp-not-ours").exists()
    assert sorted(path.name for path in folder.rglob("*")) == ["a", "kept.json", "linked"]


def test_what_cannot_be_removed_is_said_and_left(tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / ".tmp-stuck").write_text("x")
    with capture_logs() as lines:
        assert sweep(tmp_path, delete=refuse) == 0
    assert [line["event"] for line in lines] == ["leftover_not_removed"]
