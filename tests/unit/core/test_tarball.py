"""Archives of artifacts: the same bytes for the same artifact, and nothing comes out of one that pack() would not have put in."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_trainer.core.contracts.base import as_json, dump_json
from model_trainer.core.contracts.manifest import ArtifactFile, Manifest
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.stored_artifact import MOST_MANIFEST_BYTES, StoredForm, stored_form
from model_trainer.core.tarball import END, pack, unpack, write_verified
from tests.unit.worker.sealed import House

FILES = {"a.json": b"{}\n", "deep/er/b.bin": bytes(range(256)) * 9, "empty": b"", "logs.jsonl": b"one\n"}


def form_of(house: House, run_id: str) -> StoredForm:
    content = (house.local.folder("models", run_id) / "manifest.json").read_bytes()
    return stored_form(content, kind="models", item_id=run_id)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


@pytest.fixture
def run_id(house: House) -> str:
    return house.completed(files=FILES)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "out" / "in").mkdir(parents=True)
    return tmp_path / "out" / "in"


def packed(house: House, run_id: str) -> bytes:
    file = io.BytesIO()
    digest, num_bytes = pack(form_of(house, run_id), house.local.folder("models", run_id), file)
    assert (digest, num_bytes) == (hashlib.sha256(file.getvalue()).hexdigest(), len(file.getvalue()))
    return file.getvalue()


def cut(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield b""


def found_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(data: bytes, target: Path, run_id: str) -> str:
    """Why an archive was not unpacked; nothing outside the target is touched."""
    with pytest.raises(AppError) as caught:
        unpack(cut(data, 1000), target, kind="models", item_id=run_id)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
    assert [path.name for path in target.parent.iterdir()] == ["in"]
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert not (target / "manifest.json").exists(), "what is not whole has no manifest"
    return caught.value.message


@pytest.mark.parametrize("size", [1, 511, 4096, 10_000_000])
def test_what_was_packed_comes_out_as_it_was_in_pieces_of_any_size(
    house: House, run_id: str, target: Path, size: int
) -> None:
    unpack(cut(packed(house, run_id), size), target, kind="models", item_id=run_id)
    assert found_in(target) == house.content(run_id)


def test_an_archive_is_an_ordinary_one_that_says_nothing_of_its_maker(house: House, run_id: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(house, run_id))) as archive:
        members = archive.getmembers()
        inside = archive.extractfile("deep/er/b.bin")
        assert inside is not None
        assert inside.read() == FILES["deep/er/b.bin"]
    assert [member.name for member in members] == ["manifest.json", *sorted(FILES)]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


def test_the_same_artifact_is_the_same_archive(house: House, run_id: str) -> None:
    before = packed(house, run_id)
    for path in house.local.folder("models", run_id).rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert packed(house, run_id) == before


def test_of_a_log_that_grew_the_sealed_beginning_is_packed(house: House, run_id: str, target: Path) -> None:
    with (house.local.folder("models", run_id) / "logs.jsonl").open("ab") as log:
        log.write(b"two\n")
    unpack(iter([packed(house, run_id)]), target, kind="models", item_id=run_id)
    assert (target / "logs.jsonl").read_bytes() == b"one\n"


@pytest.mark.parametrize("content", [b"[]\n", b"{", b""])
def test_a_file_that_is_not_what_the_manifest_says_is_not_packed(
    house: House, run_id: str, content: bytes
) -> None:
    (house.local.folder("models", run_id) / "a.json").write_bytes(content)
    with pytest.raises(AppError, match=r"a\.json") as caught:
        packed(house, run_id)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_a_name_that_tar_cannot_carry_is_refused_with_the_way_out(house: House) -> None:
    run_id = house.completed(files={"x" * 200: b""})
    with pytest.raises(AppError, match="STORE__LAYOUT=files") as caught:
        packed(house, run_id)
    assert caught.value.code is ErrorCode.CONFIG_INVALID


def test_a_file_of_more_than_eight_gigabytes_has_its_size_written_gnus_way(house: House, run_id: str) -> None:
    form = form_of(house, run_id)
    large = ArtifactFile(path="a.json", num_bytes=8**11 + 1, sha256="0" * 64)
    enlarged = StoredForm(manifest_bytes=b"{}", manifest=form.manifest, files=(large,))
    written = io.BytesIO()
    with pytest.raises(AppError, match=r"a\.json"):  # it is not so large after all
        pack(enlarged, house.local.folder("models", run_id), written)
    header = tarfile.TarInfo.frombuf(written.getvalue()[1024:1536], "utf-8", "strict")
    assert (header.name, header.size) == ("a.json", 8**11 + 1)


def test_a_disk_that_is_full_is_said_so(house: House, run_id: str) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(AppError) as caught:
        pack(form_of(house, run_id), house.local.folder("models", run_id), full)
    assert caught.value.code is ErrorCode.DISK_FULL


class Archive:
    """One that somebody else has made."""

    def __init__(self, manifest: bytes) -> None:
        self._file = io.BytesIO()
        self._archive = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.GNU_FORMAT)
        self.add("manifest.json", manifest)

    def add(self, name: str, content: bytes = b"", **fields: object) -> "Archive":
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for field, value in fields.items():
            setattr(info, field, value)
        self._archive.addfile(info, io.BytesIO(content))
        return self

    def content(self) -> bytes:
        return self._file.getvalue()[: self._archive.offset] + END


def manifest_of(house: House, run_id: str, *paths: str, content: bytes = b"x") -> bytes:
    """The run's manifest, with these files instead of its own."""
    known = form_of(house, run_id).manifest
    sha256 = hashlib.sha256(content).hexdigest()
    files = tuple(ArtifactFile(path=path, num_bytes=len(content), sha256=sha256) for path in paths)
    changed: Manifest = known.model_copy(update={"files": files})
    return dump_json(as_json(changed)).encode()


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/x",
        "a/../../x",
        "./x",
        "a//x",
        "x/",
        "",
        ".",
        "..",
        "C:x",
        "a\\x",
        "a\0x",
        ".tmp-x",
        ".tmp-a/x",
        "manifest.json",
        "x" * 1025,
        "manifest.json/x",
    ],
)
def test_a_manifest_that_names_a_file_where_none_belongs_is_refused(
    house: House, run_id: str, target: Path, path: str
) -> None:
    archive = Archive(manifest_of(house, run_id, path)).add("x", b"x").content()
    refused(archive, target, run_id)
    assert found_in(target) == {}


def test_a_manifest_with_one_file_inside_another_is_refused(house: House, run_id: str, target: Path) -> None:
    why = refused(Archive(manifest_of(house, run_id, "a", "a/b")).content(), target, run_id)
    assert "'a' as a file and as a folder" in why


@pytest.mark.parametrize(("num_bytes", "sha256"), [(-1, "0" * 64), (1, "0" * 63), (1, "G" * 64), (1, "../x")])
def test_a_manifest_with_sizes_or_digests_that_are_none_is_refused(
    house: House, run_id: str, target: Path, num_bytes: int, sha256: str
) -> None:
    known = form_of(house, run_id).manifest
    files = (ArtifactFile(path="x", num_bytes=num_bytes, sha256=sha256),)
    content = dump_json(as_json(known.model_copy(update={"files": files}))).encode()
    assert "'x'" in refused(Archive(content).add("x", b"x").content(), target, run_id)


ATTACKS: dict[str, Callable[[Archive], Archive]] = {
    "symbolic link": lambda a: a.add("x", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": lambda a: a.add("x", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "character device": lambda a: a.add("x", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "block device": lambda a: a.add("x", type=tarfile.BLKTYPE, devmajor=8),
    "pipe": lambda a: a.add("x", type=tarfile.FIFOTYPE),
    "folder": lambda a: a.add("x", type=tarfile.DIRTYPE),
    "contiguous file": lambda a: a.add("x", b"x", type=tarfile.CONTTYPE),
    "sparse file": lambda a: a.add("x", b"x", type=tarfile.GNUTYPE_SPARSE),
    "extension": lambda a: a.add("x", b"30 path=../../../etc/evil.txt\n", type=tarfile.XHDTYPE),
    "global extension": lambda a: a.add("x", b"30 path=../../../etc/evil.txt\n", type=tarfile.XGLTYPE),
    "long name": lambda a: a.add("x" * 300, b"x"),
    "path out": lambda a: a.add("../x", b"x"),
    "absolute path": lambda a: a.add("/x", b"x"),
    "another name": lambda a: a.add("y", b"x"),
    "too long": lambda a: a.add("x", b"xx"),
    "too short": lambda a: a.add("x", b""),
    "other content": lambda a: a.add("x", b"y"),
    "twice": lambda a: a.add("x", b"x").add("x", b"x"),
    "one more": lambda a: a.add("x", b"x").add("y", b"x"),
    "missing": lambda a: a,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_archive_with_anything_else_in_it_is_refused(
    house: House, run_id: str, target: Path, attack: str
) -> None:
    refused(ATTACKS[attack](Archive(manifest_of(house, run_id, "x"))).content(), target, run_id)


def test_the_same_archive_without_an_attack_is_taken(house: House, run_id: str, target: Path) -> None:
    archive = Archive(manifest_of(house, run_id, "x")).add("x", b"x", mode=0o4777, uid=0).content()
    unpack(iter([archive]), target, kind="models", item_id=run_id)
    assert (target / "x").read_bytes() == b"x"
    assert (target / "x").stat().st_mode & 0o7111 == 0, "nothing can be carried out"


def test_more_behind_the_end_is_refused(house: House, run_id: str, target: Path) -> None:
    for more in (b"\0", b"PK\3\4", packed(house, run_id)):
        unpacked = target / str(len(more))
        unpacked.mkdir()
        with pytest.raises(AppError, match="more follows"):
            unpack(iter([packed(house, run_id) + more]), unpacked, kind="models", item_id=run_id)


def test_an_archive_cut_anywhere_is_refused(house: House, run_id: str, target: Path) -> None:
    whole = packed(house, run_id)
    for length in (0, 1, 511, 512, 700, len(whole) // 2, len(whole) - 1025, len(whole) - 1):
        place = target / str(length)
        place.mkdir()
        with pytest.raises(AppError) as caught:
            unpack(iter([whole[:length]]), place, kind="models", item_id=run_id)
        assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
        assert not (place / "manifest.json").exists()


@pytest.mark.parametrize(
    "head", [b"PK\3\4" + bytes(508), b"\x1f\x8b" + bytes(510), bytes(512), b"\xff" * 512]
)
def test_what_is_no_plain_tar_archive_is_refused(
    house: House, target: Path, run_id: str, head: bytes
) -> None:
    assert "no tar archive" in refused(head, target, run_id)


def test_a_name_that_is_no_text_is_refused(house: House, target: Path, run_id: str) -> None:
    info = tarfile.TarInfo("manifest.json")
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[0] = 0xFF
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert "no tar archive" in refused(bytes(block), target, run_id)


def test_a_manifest_of_another_item_or_without_end_is_refused(
    house: House, target: Path, run_id: str
) -> None:
    other = house.completed()
    assert other in refused(packed(house, other), target, run_id)
    assert "cannot be read" in refused(Archive(b"{}").content(), target, run_id)
    info = tarfile.TarInfo("manifest.json")
    info.size = MOST_MANIFEST_BYTES + 1
    assert "too large" in refused(info.tobuf(tarfile.GNU_FORMAT), target, run_id)


def test_a_bomb_is_not_written_beyond_the_size_that_the_manifest_says(tmp_path: Path) -> None:
    far_more = (bytes(1000) for _ in range(1000))
    with pytest.raises(AppError, match="another content"):
        write_verified(tmp_path / "x", far_more, sha256="0" * 64, num_bytes=5000)
    assert (tmp_path / "x").stat().st_size <= 5000


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write_verified(tmp_path / "x", iter([b"x"]), sha256=hashlib.sha256(b"x").hexdigest(), num_bytes=1)
    assert (tmp_path / "x").read_bytes() == b"mine"
