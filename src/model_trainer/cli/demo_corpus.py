"""Real text that every machine with Python has: the standard library's docstrings, the language reference, some source.

Deterministic for one Python: the same files in the same order, byte for byte.
"""

import ast
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically

LEAVE_OUT = frozenset(
    {
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "turtledemo",
        "__pycache__",
        "encodings",
        "pydoc_data",
    }
)
"""Other people's packages, tests that are full of odd bytes, tables."""
SHORTEST_DOCSTRING = 80
"""Characters; shorter ones are one-liners that teach a model little."""
CHAPTERS_FILE = Path("pydoc_data", "topics.py")
SOURCE_BYTES = 1_500_000
"""How much source goes in beside the prose."""


@dataclass(frozen=True, slots=True)
class DemoCorpus:
    """What was written."""

    num_texts: int
    """Docstrings, chapters and modules."""
    num_bytes: int


def standard_library() -> Path:
    """Where this Python keeps its library."""
    return Path(sysconfig.get_path("stdlib"))


def write_demo_corpus(folder: Path, *, library: Path, source_bytes: int = SOURCE_BYTES) -> DemoCorpus:
    """Leaves prose.txt (chapters, docstrings) and code.txt (modules) in `folder`; raises DATA_EMPTY without any."""
    folder.mkdir(parents=True, exist_ok=True)
    prose: list[str] = list(_chapters(library / CHAPTERS_FILE))
    code: list[str] = []
    num_code_bytes = 0
    for text in _modules(library):
        prose += _docstrings(text)
        if num_code_bytes < source_bytes:
            code.append(text)
            num_code_bytes += len(text.encode())
    if not prose or not code:
        message = (
            f"There is no Python source in {library}: install Python with its library, then start again."
        )
        raise AppError(ErrorCode.DATA_EMPTY, message)
    written = {"prose.txt": "\n\n".join(prose), "code.txt": "\n\n".join(code)}
    for name, text in written.items():
        write_atomically(folder / name, f"{text}\n".encode())
    num_bytes = sum((folder / name).stat().st_size for name in written)
    return DemoCorpus(num_texts=len(prose) + len(code), num_bytes=num_bytes)


def _modules(library: Path) -> Iterator[str]:
    """The text of every module, by path; what is not UTF-8 is left out."""
    names = sorted(path.relative_to(library).as_posix() for path in library.rglob("*.py"))
    for name in names:
        if LEAVE_OUT.isdisjoint(name.split("/")):
            try:
                yield (library / name).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def _chapters(topics: Path) -> Iterator[str]:
    """The chapters of the language reference that `help()` shows: a module that is one mapping of texts."""
    if not topics.is_file():
        return
    for statement in ast.parse(topics.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            for value in statement.value.values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value.strip()


def _docstrings(text: str) -> Iterator[str]:
    """The docstrings of a module that say something, outermost first, without their indentation."""
    try:
        with warnings.catch_warnings():
            # Old modules write "\d"; that is theirs to mend.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError):  # a template, or a file with NUL bytes
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found = ast.get_docstring(node, clean=False)
            if found is not None and len(found) >= SHORTEST_DOCSTRING:
                yield inspect.cleandoc(found)
