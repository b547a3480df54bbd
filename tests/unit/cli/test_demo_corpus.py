"""Real text from Python's own library: deterministic, in UTF-8, without what is not text."""

from pathlib import Path

import pytest

from model_trainer.cli.demo_corpus import write_demo_corpus
from model_trainer.core.errors import AppError, ErrorCode

LONG = "This sentence is long enough to count as prose, because it goes on well beyond eighty characters."


def small_library(folder: Path) -> Path:
    """A library of a few files, each with its own oddity."""
    files = {
        "b.py": f'"""{LONG} B."""\ndef f():\n    """Short."""\nclass C:\n    """{LONG}\n\n    Indented.\n    """\n',
        "a.py": f'async def g():\n    r"""{LONG} \\d"""\nx = "\\d"\n',
        "broken.py": "def (:\n",
        "test/big.py": f'"""{LONG} TEST."""\n',
        "site-packages/other.py": f'"""{LONG} OTHER."""\n',
        "pydoc_data/topics.py": f"x = 3\ntopics = {{'if': '{LONG} CHAPTER.', 'n': 3}}\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "latin.py").write_bytes(b"# caf\xe9\n")
    return folder


def test_prose_and_code_are_gathered_in_a_fixed_order(tmp_path: Path) -> None:
    library = small_library(tmp_path / "library")
    corpus = write_demo_corpus(tmp_path / "corpus", library=library)
    prose = (tmp_path / "corpus" / "prose.txt").read_text()
    code = (tmp_path / "corpus" / "code.txt").read_text()
    assert prose.index("CHAPTER.") < prose.index(" \\d") < prose.index(" B.") < prose.index("\n\nIndented.")
    assert "Short." not in prose
    assert "TEST." not in prose + code
    assert "OTHER." not in prose + code
    assert code.index("async def g") < code.index("class C")
    assert corpus.num_bytes == len(prose.encode()) + len(code.encode())
    assert corpus.num_texts == 4 + 3


def test_source_ends_at_its_share(tmp_path: Path) -> None:
    write_demo_corpus(tmp_path / "corpus", library=small_library(tmp_path / "library"), source_bytes=1)
    code = (tmp_path / "corpus" / "code.txt").read_text()
    assert "async def g" in code
    assert "class C" not in code


def test_a_library_without_chapters_does(tmp_path: Path) -> None:
    library = small_library(tmp_path / "library")
    (library / "pydoc_data" / "topics.py").unlink()
    assert write_demo_corpus(tmp_path / "corpus", library=library).num_texts == 3 + 3


def test_a_python_without_its_library_is_told(tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        write_demo_corpus(tmp_path / "corpus", library=tmp_path / "nothing")
    assert caught.value.code is ErrorCode.DATA_EMPTY
