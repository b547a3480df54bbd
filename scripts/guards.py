"""Finds what linters and type checkers cannot see, or can be told not to: each rule is one function below.

Knows the house's rules and the shape of the tree; changes nothing. `python scripts/guards.py [file ...]`.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("src", "tests", "scripts", "benchmarks")
PACKAGE = "src/model_trainer"

SUPERVISORS = frozenset({(f"{PACKAGE}/worker/supervise.py", "_work")})
"""(file, function) pairs that may catch everything: what fails below them becomes a failed run, not a dead worker."""

TORCH_FREE = re.compile(
    rf"{PACKAGE}/("
    r"(api|cli|client|core|infra|orchestrators)/.*"
    r"|(models|tokenizers)/([^/]+/(__init__|config)|[^/]+)\.py"
    r"|(registry|engine/data/corpus)\.py"
    r")"
)
WORKER_ONLY = frozenset(
    {"numpy", "pyarrow", "safetensors", "sentencepiece", "sklearn", "tokenizers", "torch", "transformers"}
)
"""Packages of the extras: the API and the CLI start without them, so nothing there imports them while loading."""

LONGEST_FILE = 400
LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
BROAD = frozenset({"Exception", "BaseException"})
A_REASON = re.compile(r"[A-Za-z]{3,}")


@dataclass(frozen=True)
class Comment:
    """One comment, without the code before it."""

    line: int
    text: str


@dataclass(frozen=True)
class Source:
    """One parsed file; `path` is relative to the repository and uses forward slashes."""

    path: str
    text: str
    tree: ast.Module
    comments: tuple[Comment, ...]

    @property
    def is_package(self) -> bool:
        """Whether the file ships."""
        return self.path.startswith(f"{PACKAGE}/")


@dataclass(frozen=True)
class Finding:
    """One broken rule."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


Fault = tuple[int, str]
"""A line and what is wrong there."""


def no_type_ignore(source: Source) -> Iterator[Fault]:
    """No comment switches the type checker off."""
    for comment in source.comments:
        if re.search(r"#\s*(type:\s*ignore|mypy:|pyright:)", comment.text):
            yield (
                comment.line,
                "a comment switches the type checker off: type it, or put a checked stub under stubs/",
            )


def noqa_with_code_and_reason(source: Source) -> Iterator[Fault]:
    """A lint waiver names its rule and says why."""
    for comment in source.comments:
        if re.search(r"#\s*(ruff|flake8):\s*noqa", comment.text):
            yield comment.line, "waives rules for a whole file: use per-file-ignores in pyproject.toml"
            continue
        waiver = re.search(
            r"#\s*noqa\b(?P<codes>:\s*[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*)?(?P<rest>.*)", comment.text
        )
        if waiver is None:
            continue
        if waiver["codes"] is None:
            yield comment.line, "noqa without a rule: write `# noqa: S123 - why`"
        elif not A_REASON.search(waiver["rest"]):
            yield comment.line, "noqa without a reason: write `# noqa: S123 - why`"


def no_cover_with_reason(source: Source) -> Iterator[Fault]:
    """A line left out of coverage says why."""
    for comment in source.comments:
        waiver = re.search(r"pragma:\s*no\s*(cover|branch)(?P<rest>.*)", comment.text)
        if waiver is not None and not A_REASON.search(waiver["rest"]):
            yield comment.line, "left out of coverage without a reason: write `# pragma: no cover - why`"


def drift_marker_with_issue(source: Source) -> Iterator[Fault]:
    """What is left for later has an issue."""
    for comment in source.comments:
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", comment.text) and not re.search(r"#\d+", comment.text[1:]):
            yield comment.line, "left for later without an issue: name one (#12), or do it now"


def no_print(source: Source) -> Iterator[Fault]:
    """Library code logs; only the CLI shows things, through rich."""
    if not source.is_package or _prints_through_rich(source):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno, "print in library code: log an event, or render through rich in cli/"


def no_dataclass_in_contracts(source: Source) -> Iterator[Fault]:
    """Contracts and settings are pydantic models: a dataclass checks nothing."""
    if not source.path.startswith((f"{PACKAGE}/core/contracts/", f"{PACKAGE}/core/config/")):
        return
    for line, name in _imports(ast.walk(source.tree)):
        if name.partition(".")[0] == "dataclasses":
            yield line, "dataclasses in contracts or config: use a frozen pydantic model"


def broad_except_logs_and_raises(source: Source) -> Iterator[Fault]:
    """Who catches everything logs it and passes it on, but for the one supervisor."""
    if not source.is_package:
        return
    allowed = {
        handler
        for function in ast.walk(source.tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and (source.path, function.name) in SUPERVISORS
        for handler in ast.walk(function)
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and node not in allowed and _is_broad(node.type):
            if _logs(node) and isinstance(node.body[-1], ast.Raise):
                continue
            yield node.lineno, "a broad except must log and end in raise: catch narrowly"
        if (
            isinstance(node, ast.Call)
            and _last_name(node.func) == "suppress"
            and any(map(_is_broad, node.args))
        ):
            yield node.lineno, "suppresses everything: name the errors"


def no_silent_except(source: Source) -> Iterator[Fault]:
    """An error is never dropped without a word."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and all(_does_nothing(statement) for statement in node.body):
            yield (
                node.lineno,
                "swallows an error: handle it, or say contextlib.suppress(ThatError) with a comment",
            )


def environment_only_in_config(source: Source) -> Iterator[Fault]:
    """The environment is read once, by core/config."""
    if not source.is_package or source.path.startswith(f"{PACKAGE}/core/config/"):
        return
    written = {
        node.value
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del)
    }
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(attr="environ" | "environb" | "getenv", value=ast.Name(id="os")):
                reads = node not in written
            case ast.ImportFrom(module="os", names=names):
                reads = any(alias.name in {"environ", "environb", "getenv"} for alias in names)
            case _:
                continue
        if reads:
            yield node.lineno, "reads the environment: take a setting instead"


def torch_free_rooms(source: Source) -> Iterator[Fault]:
    """What the API and the CLI load does not import the worker's packages."""
    if TORCH_FREE.fullmatch(source.path) is None:
        return
    for line, name in _imports(_while_loading(source.tree.body)):
        if name.partition(".")[0] in WORKER_ONLY:
            yield line, f"imports {name} while loading, in a room that works without the worker's packages"


def short_files(source: Source) -> Iterator[Fault]:
    """A file tells one story."""
    lines = source.text.count("\n")
    if source.is_package and lines > LONGEST_FILE:
        yield 1, f"{lines} lines, more than {LONGEST_FILE}: look for the second story"


Rule = Callable[[Source], Iterator[Fault]]
RULES: tuple[Rule, ...] = (
    no_type_ignore,
    noqa_with_code_and_reason,
    no_cover_with_reason,
    drift_marker_with_issue,
    no_print,
    no_dataclass_in_contracts,
    broad_except_logs_and_raises,
    no_silent_except,
    environment_only_in_config,
    torch_free_rooms,
    short_files,
)


def check(path: str, text: str) -> list[Finding]:
    """Return what is wrong with one file; SyntaxError if it is not Python."""
    source = Source(
        path=path, text=text, tree=ast.parse(text, filename=path), comments=tuple(_comments(text))
    )
    return [
        Finding(path=path, line=line, rule=rule.__name__, message=message)
        for rule in RULES
        for line, message in rule(source)
    ]


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Check the files named, or all of the house's rooms; return the exit status."""
    files = [Path(name).resolve() for name in arguments] or _all_files(root)
    findings = [
        finding
        for file in files
        for finding in check(file.relative_to(root).as_posix(), file.read_text(encoding="utf-8"))
    ]
    for finding in findings:
        print(finding)
    print(f"guards: {len(files)} files, {len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


def _all_files(root: Path) -> list[Path]:
    return sorted(file for room in ROOMS for file in (root / room).rglob("*.py"))


def _comments(text: str) -> Iterator[Comment]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield Comment(line=token.start[0], text=token.string)


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.lineno, node.module


def _while_loading(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield every statement that runs when the module loads: all but function bodies and `if TYPE_CHECKING`."""
    for statement in statements:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and _last_name(statement.test) == "TYPE_CHECKING":
            yield from _while_loading(statement.orelse)
            continue
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, ast.stmt):
                yield from _while_loading([child])
            elif isinstance(child, ast.ExceptHandler):
                yield from _while_loading(child.body)


def _prints_through_rich(source: Source) -> bool:
    return source.path.startswith(f"{PACKAGE}/cli/") and any(
        isinstance(node, ast.ImportFrom)
        and node.module == "rich"
        and any(alias.name == "print" and alias.asname is None for alias in node.names)
        for node in source.tree.body
    )


def _is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    if isinstance(caught, ast.Tuple):
        return any(map(_is_broad, caught.elts))
    return _last_name(caught) in BROAD


def _logs(handler: ast.ExceptHandler) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOG_METHODS
        for node in ast.walk(handler)
    )


def _does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _last_name(expression: ast.expr) -> str | None:
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
