"""The only door to corpora: finds the files of one under the data root, by names and sizes alone."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.storage import TEXT_SUFFIXES, CorpusSource, FetchReport, nobody_listens

CACHE_FOLDER = "corpus_cache"
"""At the top of the data root: what was fetched from the store. It is reached by references, never by paths."""
_FIELD = "corpus_path"
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|file:|[A-Za-z]:|//", re.IGNORECASE)
"""How a URL, a Windows drive and a network share begin."""
_LONGEST_PATH = 4096


class LocalCorpusRoot:
    """Corpora in one folder of this machine. A link is refused wherever it stands below that folder."""

    def __init__(self, data_root: Path, *, most_files: int = 100_000) -> None:
        """The folder itself may be a link; it may be missing until the first corpus is asked for.

        Args:
            data_root: what is outside it is never opened.
            most_files: a folder with more files is refused, because every POST looks at all of them.
        """
        self._data_root = data_root
        self._most_files = most_files

    def locate(
        self,
        corpus_path: str,
        *,
        suffixes: tuple[str, ...] = TEXT_SUFFIXES,
        pointer: str = f"/{_FIELD}",
        report: FetchReport = nobody_listens,  # nothing is fetched from a disk of this machine
    ) -> CorpusSource:
        """The files of a corpus: `corpus_path` is relative to the data root, or absolute and inside it.

        A folder is read with everything below it, but for hidden files and files of other types. Raises what
        core/ports/storage.py names, each with a fault at `pointer`.
        """
        try:
            return self._located(corpus_path, suffixes)
        except AppError as error:
            why = error.faults[0].message
            fault = FieldFault(pointer=pointer, message=why)
            raise AppError(error.code, f"{pointer.split('/')[1]} {why}.", faults=[fault]) from error

    def look_up(
        self,
        corpus_path: str,
        *,
        suffixes: tuple[str, ...] = TEXT_SUFFIXES,
        pointer: str = f"/{_FIELD}",
    ) -> CorpusSource:
        """The same as locate(): all files are near."""
        return self.locate(corpus_path, suffixes=suffixes, pointer=pointer)

    def _located(self, corpus_path: str, suffixes: tuple[str, ...]) -> CorpusSource:
        # Both spellings of the root count for absolute paths: as configured, and with its own links resolved.
        root = Path(os.path.realpath(self._data_root))
        _require_plain(corpus_path)
        names = _names_below(corpus_path, (root, self._data_root.absolute()))
        if names[:1] == [CACHE_FOLDER]:
            raise _refusal(
                ErrorCode.DATA_PATH_FORBIDDEN,
                "lies in the cache of stored files; name a file of the store as sha256:<file_id>.<suffix>",
            )
        path = _walk_down(root, names)
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            base, sizes = path, self._sizes_below(path, hidden=root / CACHE_FOLDER)
        elif stat.S_ISREG(mode):
            base, sizes = path.parent, {path.name: path.lstat().st_size}
        else:
            raise _not_regular(path.name)
        supported = {name: size for name, size in sizes.items() if name.lower().endswith(suffixes)}
        readable = f"supported are {', '.join(suffixes)}"
        if sizes and not supported:
            raise _refusal(
                ErrorCode.DATA_FORMAT_UNSUPPORTED, f"holds no file of a supported type; {readable}"
            )
        num_bytes = sum(supported.values())
        if num_bytes == 0:
            raise _refusal(ErrorCode.DATA_EMPTY, f"holds nothing to read; put text there ({readable})")
        return CorpusSource(
            corpus_path=corpus_path, base=base, names=tuple(sorted(supported)), num_bytes=num_bytes
        )

    def _sizes_below(self, folder: Path, *, hidden: Path) -> dict[str, int]:
        """The size of every regular file below a folder, by its name relative to the folder; `hidden` is passed over."""
        sizes: dict[str, int] = {}
        pending = [folder]
        while pending:
            inner = pending.pop()
            for name, status in _entries(inner):
                path = inner / name
                if path == hidden:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    pending.append(path)
                elif stat.S_ISREG(status.st_mode):
                    sizes[path.relative_to(folder).as_posix()] = status.st_size
                elif stat.S_ISLNK(status.st_mode):
                    raise _link(name)
                else:
                    raise _not_regular(name)
                if len(sizes) > self._most_files:
                    raise _refusal(
                        ErrorCode.DATA_FORMAT_UNSUPPORTED,
                        f"holds more than {self._most_files:,} files; join them, for example into .jsonl files",
                    )
        return sizes


def _require_plain(corpus_path: str) -> None:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in corpus_path):
        raise _refusal(ErrorCode.DATA_PATH_FORBIDDEN, "holds control characters; no corpus has such a name")
    if len(corpus_path.encode()) > _LONGEST_PATH:
        raise _refusal(ErrorCode.DATA_PATH_FORBIDDEN, f"is longer than {_LONGEST_PATH} bytes; shorten it")
    if "\\" in corpus_path or _ELSEWHERE.match(corpus_path):
        raise _refusal(
            ErrorCode.DATA_PATH_FORBIDDEN,
            "is a URL, a Windows path or a network share; copy the corpus under the data root (APP__DATA_ROOT) and "
            "name it relative to that, with forward slashes",
        )


def _names_below(corpus_path: str, roots: tuple[Path, ...]) -> list[str]:
    """The names from the root to the corpus. Compared name by name: /data/corpora-2 does not lie in /data/corpora."""
    names = [name for name in corpus_path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise _refusal(
            ErrorCode.DATA_PATH_FORBIDDEN, "must not contain `..`; name the place under the data root"
        )
    if not corpus_path.startswith("/"):
        return names
    for root in roots:
        head = list(root.parts[1:])
        if names[: len(head)] == head:
            return names[len(head) :]
    raise _refusal(
        ErrorCode.DATA_PATH_FORBIDDEN, "lies outside the data root (APP__DATA_ROOT); put the corpus under it"
    )


def _walk_down(root: Path, names: list[str]) -> Path:
    """From the root to the corpus, name by name, so that no link is followed."""
    path = root
    with _disk_answers():
        root.lstat()
        for name in names:
            path /= name
            if stat.S_ISLNK(path.lstat().st_mode):
                raise _link(name)
    return path


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The entries of a folder, links not followed. Hidden ones are passed over: what is there is no text of people's."""
    with _disk_answers(), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_encodable(entry.name):
                raise _refusal(
                    ErrorCode.DATA_PATH_FORBIDDEN, "holds a file whose name is not UTF-8; rename it"
                )
            yield entry.name, entry.stat(follow_symlinks=False)


@contextmanager
def _disk_answers() -> Iterator[None]:
    """Inside, what the disk refuses becomes a refusal of ours."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _refusal(
            ErrorCode.DATA_NOT_FOUND, "is not there; put the corpus under the data root (APP__DATA_ROOT)"
        ) from error
    except OSError as error:  # EACCES, ENAMETOOLONG, EIO
        raise _refusal(ErrorCode.DATA_PATH_FORBIDDEN, f"cannot be looked at ({error.strerror})") from error


def _is_encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _link(name: str) -> AppError:
    return _refusal(
        ErrorCode.DATA_PATH_FORBIDDEN,
        f"goes through a link ({name}); put the files themselves under the data root",
    )


def _not_regular(name: str) -> AppError:
    return _refusal(
        ErrorCode.DATA_PATH_FORBIDDEN, f"holds a device, pipe or socket ({name}); only regular files are read"
    )


def _refusal(code: ErrorCode, why: str) -> AppError:
    return AppError(code, f"{_FIELD} {why}.", faults=[FieldFault(pointer=f"/{_FIELD}", message=why)])
