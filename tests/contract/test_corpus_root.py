"""Every corpus root answers this way, and opens nothing outside itself."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_trainer.core.config.settings import CorpusCacheSettings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import LABELLED_SUFFIXES, CorpusRoot
from model_trainer.infra.storage.corpus_cache import LocalCorpusCache
from model_trainer.infra.storage.corpus_root import CACHE_FOLDER, LocalCorpusRoot
from model_trainer.infra.storage.filed_corpora import FiledCorpora
from model_trainer.infra.storage.memory import MemoryCorpusRoot
from model_trainer.infra.storage.stores.memory import MemoryStore


@dataclass
class Place:
    """A corpus root and the folder behind it."""

    corpora: CorpusRoot
    folder: Path

    def refusal(self, corpus_path: str) -> ErrorCode:
        """The code a corpus is refused with; the fault names the field and says what to do."""
        with pytest.raises(AppError) as caught:
            self.corpora.locate(corpus_path)
        (fault,) = caught.value.faults
        assert fault.pointer == "/corpus_path"
        assert caught.value.message == f"corpus_path {fault.message}."
        return caught.value.code


@pytest.fixture(params=["local", "memory", "filed"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    def local() -> Place:
        folder = tmp_path / "data" / "corpora"
        folder.mkdir(parents=True)
        return Place(LocalCorpusRoot(folder), folder)

    def memory() -> Place:
        corpora = MemoryCorpusRoot({})
        return Place(corpora, Path(os.path.realpath(corpora.root)))

    def filed() -> Place:
        near = local()
        settings = CorpusCacheSettings(max_bytes=1 << 30, min_free_bytes=0)
        cache = LocalCorpusCache(near.folder / CACHE_FOLDER, store=MemoryStore(), settings=settings)
        return Place(FiledCorpora(near.corpora, cache=cache), near.folder)

    kinds: dict[str, Callable[[], Place]] = {"local": local, "memory": memory, "filed": filed}
    made = kinds[request.param]()
    (made.folder / "shelf" / "inner").mkdir(parents=True)
    (made.folder / "shelf" / "b.txt").write_text("bee")
    (made.folder / "shelf" / "inner" / "a.MD").write_text("# ay")
    (made.folder / "empty.txt").touch()
    (made.folder / "photo.png").write_bytes(b"\x89PNG")
    (made.folder / "void").mkdir()
    return made


def test_a_folder_is_every_supported_file_below_it(place: Place) -> None:
    shelf = place.folder / "shelf"
    (shelf / "notes.pdf").write_bytes(b"%PDF")
    (shelf / ".DS_Store").write_bytes(b"\0")
    (shelf / ".git").mkdir()
    (shelf / ".git" / "x.txt").write_text("not a text of people's")
    (shelf / "inner" / "rows.jsonl").write_text("{}\n")
    (shelf / "inner" / "table.parquet").write_bytes(b"PAR1")
    (shelf / "inner" / "none.txt").touch()

    source = place.corpora.locate("shelf")

    assert source.corpus_path == "shelf"
    assert source.base == shelf
    assert source.names == (
        "b.txt",
        "inner/a.MD",
        "inner/none.txt",
        "inner/rows.jsonl",
        "inner/table.parquet",
    )
    assert source.num_bytes == 3 + 4 + 0 + 3 + 4


def test_a_single_file_is_named_by_its_folder(place: Place) -> None:
    source = place.corpora.locate("shelf/b.txt")

    assert (source.base, source.names, source.num_bytes) == (place.folder / "shelf", ("b.txt",), 3)


@pytest.mark.parametrize(
    "spelling", ["shelf", "shelf/", "./shelf", "shelf//.", "{root}/shelf", "{root}//shelf/"]
)
def test_relative_and_absolute_spellings_give_the_same_corpus(place: Place, spelling: str) -> None:
    source = place.corpora.locate(spelling.format(root=place.folder))

    assert source.base == place.folder / "shelf"
    assert source.names == ("b.txt", "inner/a.MD")


@pytest.mark.parametrize("spelling", [".", "/", "{root}"])
def test_the_root_itself_is_a_corpus(place: Place, spelling: str) -> None:
    if spelling == "/":
        assert place.refusal(spelling) is ErrorCode.DATA_PATH_FORBIDDEN
    else:
        source = place.corpora.locate(spelling.format(root=place.folder))
        assert source.names == ("empty.txt", "shelf/b.txt", "shelf/inner/a.MD")


@pytest.mark.parametrize(
    ("corpus_path", "code"),
    [
        ("missing", ErrorCode.DATA_NOT_FOUND),
        ("missing/deep/down.txt", ErrorCode.DATA_NOT_FOUND),
        ("shelf/b.txt/under-a-file", ErrorCode.DATA_NOT_FOUND),
        ("empty.txt", ErrorCode.DATA_EMPTY),
        ("void", ErrorCode.DATA_EMPTY),
        ("photo.png", ErrorCode.DATA_FORMAT_UNSUPPORTED),
        ("..", ErrorCode.DATA_PATH_FORBIDDEN),
        ("../corpora/shelf", ErrorCode.DATA_PATH_FORBIDDEN),
        ("shelf/../shelf", ErrorCode.DATA_PATH_FORBIDDEN),
        ("{root}/../shelf", ErrorCode.DATA_PATH_FORBIDDEN),
        ("/etc/passwd", ErrorCode.DATA_PATH_FORBIDDEN),
        ("/dev/zero", ErrorCode.DATA_PATH_FORBIDDEN),
        ("/proc/self/environ", ErrorCode.DATA_PATH_FORBIDDEN),
        ("{root}-evil/b.txt", ErrorCode.DATA_PATH_FORBIDDEN),
        ("//server/share/b.txt", ErrorCode.DATA_PATH_FORBIDDEN),
        ("/{root}/shelf", ErrorCode.DATA_PATH_FORBIDDEN),
        ("\\\\server\\share", ErrorCode.DATA_PATH_FORBIDDEN),
        ("shelf\\b.txt", ErrorCode.DATA_PATH_FORBIDDEN),
        ("C:/corpora", ErrorCode.DATA_PATH_FORBIDDEN),
        ("c:b.txt", ErrorCode.DATA_PATH_FORBIDDEN),
        ("file:///etc/passwd", ErrorCode.DATA_PATH_FORBIDDEN),
        ("FILE:/etc/passwd", ErrorCode.DATA_PATH_FORBIDDEN),
        ("s3://bucket/key", ErrorCode.DATA_PATH_FORBIDDEN),
        ("https://example.org/a.txt", ErrorCode.DATA_PATH_FORBIDDEN),
        ("shelf\0", ErrorCode.DATA_PATH_FORBIDDEN),
        ("shelf/b.txt\0.png", ErrorCode.DATA_PATH_FORBIDDEN),
        ("shelf\n", ErrorCode.DATA_PATH_FORBIDDEN),
        ("\x1b]0;shelf", ErrorCode.DATA_PATH_FORBIDDEN),
        ("\ud800", ErrorCode.DATA_PATH_FORBIDDEN),
        ("x" * 300, ErrorCode.DATA_PATH_FORBIDDEN),
        ("x/" * 3000, ErrorCode.DATA_PATH_FORBIDDEN),
    ],
)
def test_what_is_no_corpus_below_the_root_is_refused(place: Place, corpus_path: str, code: ErrorCode) -> None:
    twin = place.folder.with_name(f"{place.folder.name}-evil")
    twin.mkdir()
    (twin / "b.txt").write_text("outside")
    try:
        assert place.refusal(corpus_path.replace("{root}", str(place.folder))) is code
    finally:
        (twin / "b.txt").unlink()
        twin.rmdir()


def test_a_folder_with_nothing_supported_says_what_is(place: Place) -> None:
    (place.folder / "void" / "a.pdf").write_bytes(b"%PDF")

    with pytest.raises(AppError, match=r"supported are \.txt, \.md, \.jsonl, \.parquet") as caught:
        place.corpora.locate("void")

    assert caught.value.code is ErrorCode.DATA_FORMAT_UNSUPPORTED


def test_a_link_is_refused_wherever_it_stands(place: Place) -> None:
    shelf = place.folder / "shelf"
    (place.folder / "to-file.txt").symlink_to(shelf / "b.txt")
    (place.folder / "to-folder").symlink_to(shelf)
    (place.folder / "to-nothing.txt").symlink_to(place.folder / "missing")
    (place.folder / "to-itself").symlink_to(place.folder / "to-itself")

    for corpus_path in ("to-file.txt", "to-folder", "to-folder/b.txt", "to-nothing.txt", "to-itself"):
        assert place.refusal(corpus_path) is ErrorCode.DATA_PATH_FORBIDDEN


@pytest.mark.parametrize("target", ["b.txt", "inner", "/etc/passwd", "missing"])
def test_a_link_inside_a_folder_refuses_the_folder(place: Place, target: str) -> None:
    (place.folder / "shelf" / "inner" / "link.txt").symlink_to(place.folder / "shelf" / target)

    assert place.refusal("shelf") is ErrorCode.DATA_PATH_FORBIDDEN


def test_pipes_sockets_and_devices_are_refused(place: Place) -> None:
    os.mkfifo(place.folder / "pipe.txt")
    os.mkfifo(place.folder / "shelf" / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place.folder / "socket.txt"))

        for corpus_path in ("pipe.txt", "socket.txt", "shelf"):
            assert place.refusal(corpus_path) is ErrorCode.DATA_PATH_FORBIDDEN


def test_a_name_that_is_not_utf8_is_refused(place: Place) -> None:
    try:
        (place.folder / "shelf" / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    except OSError:
        return  # macOS does not let such a name come about

    assert place.refusal("shelf") is ErrorCode.DATA_PATH_FORBIDDEN


def test_other_suffixes_are_found_where_they_are_asked_for(place: Place) -> None:
    for name in ("a.csv", "b.CSV", "c.jsonl", "d.parquet", "e.txt"):
        (place.folder / "void" / name).write_text("x")

    labelled = place.corpora.locate("void", suffixes=LABELLED_SUFFIXES)
    texts = place.corpora.locate("void")

    assert labelled.names == ("a.csv", "b.CSV", "c.jsonl", "d.parquet")
    assert texts.names == ("c.jsonl", "d.parquet", "e.txt")


@pytest.mark.parametrize("corpus_path", ["shelf", "void", "nowhere", "../shelf"])
def test_a_refusal_names_the_field_that_was_asked_for(place: Place, corpus_path: str) -> None:
    with pytest.raises(AppError) as caught:
        place.corpora.locate(corpus_path, suffixes=LABELLED_SUFFIXES, pointer="/data_paths/3")

    (fault,) = caught.value.faults
    assert fault.pointer == "/data_paths/3"
    assert caught.value.message == f"data_paths {fault.message}."


def test_a_refusal_lists_the_suffixes_that_were_asked_for(place: Place) -> None:
    with pytest.raises(AppError, match=r"supported are \.csv, \.jsonl, \.parquet\.$"):
        place.corpora.locate("shelf", suffixes=LABELLED_SUFFIXES)


def test_a_look_finds_what_locating_finds(place: Place) -> None:
    looked, located = place.corpora.look_up("shelf"), place.corpora.locate("shelf")

    assert looked == located
    assert looked.is_near
    with pytest.raises(AppError) as caught:
        place.corpora.look_up("void", suffixes=LABELLED_SUFFIXES, pointer="/data_paths/3")
    assert caught.value.faults[0].pointer == "/data_paths/3"


@pytest.mark.parametrize(
    "spelling", ["corpus_cache", "corpus_cache/a.txt", "./corpus_cache/", "{root}/corpus_cache"]
)
def test_what_was_fetched_from_the_store_is_not_reached_by_a_path(place: Place, spelling: str) -> None:
    (place.folder / "corpus_cache").mkdir()
    (place.folder / "corpus_cache" / "a.txt").write_text("of the store")

    assert place.refusal(spelling.format(root=place.folder)) is ErrorCode.DATA_PATH_FORBIDDEN
    assert place.corpora.locate(".").names == ("empty.txt", "shelf/b.txt", "shelf/inner/a.MD")


def test_a_folder_further_down_may_have_the_name_of_the_cache(place: Place) -> None:
    (place.folder / "shelf" / "corpus_cache").mkdir()
    (place.folder / "shelf" / "corpus_cache" / "c.txt").write_text("sea")

    assert place.corpora.locate("shelf").names == ("b.txt", "corpus_cache/c.txt", "inner/a.MD")
    assert place.corpora.locate("shelf/corpus_cache").names == ("c.txt",)
