"""What is particular to corpora on this machine's disk."""

from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.corpus_root import LocalCorpusRoot


def test_a_root_that_is_a_link_may_be_named_either_way(tmp_path: Path) -> None:
    real = tmp_path / "disk2" / "texts"
    real.mkdir(parents=True)
    (real / "a.txt").write_text("ay")
    (tmp_path / "corpus").symlink_to(real)
    corpora = LocalCorpusRoot(tmp_path / "corpus")

    for corpus_path in ("a.txt", f"{tmp_path}/corpus/a.txt", f"{real}/a.txt"):
        source = corpora.locate(corpus_path)
        assert (source.base, source.names) == (real, ("a.txt",))


def test_a_relative_root_is_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("ay")
    monkeypatch.chdir(tmp_path)

    source = LocalCorpusRoot(Path("corpus")).locate(f"{tmp_path}/corpus/a.txt")

    assert source.base == tmp_path / "corpus"


@pytest.mark.parametrize("corpus_path", [".", "a.txt"])
def test_a_missing_root_is_said_to_hold_nothing(tmp_path: Path, corpus_path: str) -> None:
    with pytest.raises(AppError, match="APP__DATA_ROOT") as caught:
        LocalCorpusRoot(tmp_path / "corpus").locate(corpus_path)

    assert caught.value.code is ErrorCode.DATA_NOT_FOUND


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("x")

    assert LocalCorpusRoot(tmp_path, most_files=4).locate(".").num_bytes == 4
    with pytest.raises(AppError, match="more than 3 files; join them"):
        LocalCorpusRoot(tmp_path, most_files=3).locate(".")
