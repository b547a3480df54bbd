"""Chat templates: jinja2 as transformers renders it, in a sandbox, so that a conversation becomes the same prompt in both.

A template is a program. Whoever renders one bounds its time and memory, where a crash hurts nobody (an inference worker's
child); checking runs nothing of it.
"""

import json
from collections.abc import Callable, Container, Iterator, Mapping
from datetime import datetime
from typing import Protocol

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

LONGEST_CHAT_TEMPLATE = 20_000
"""Characters."""
Render = Callable[[Mapping[str, object]], Iterator[str]]


class _Filters(Protocol):
    def __setitem__(self, name: str, value: Callable[[object], str], /) -> None: ...

    def __contains__(self, name: object, /) -> bool: ...


class _Globals(Protocol):
    def __setitem__(self, name: str, value: object, /) -> None: ...


class _Template(Protocol):
    def generate(self, values: Mapping[str, object], /) -> Iterator[str]: ...


class _Node(Protocol):
    @property
    def lineno(self) -> int: ...

    def iter_child_nodes(self) -> "Iterator[_Node]": ...


class _Environment(Protocol):
    @property
    def filters(self) -> _Filters: ...

    @property
    def tests(self) -> Mapping[str, object]: ...

    @property
    def globals(self) -> _Globals: ...

    def parse(self, source: str) -> _Node: ...

    def add_extension(self, extension: str) -> None: ...

    def from_string(self, source: str) -> _Template: ...


def template_fault(template: str) -> str | None:
    """Why `template` cannot be one; None when it can. It is parsed, nothing in it is computed."""
    environment = _environment()
    try:
        return _unknown_name(environment, environment.parse(template))
    except TemplateError as error:
        return f"{_line(error)}{error.message}"
    except RecursionError:
        return "it is nested too deeply"


def compiled(template: str) -> Render:
    """What writes the text of `template`, piece by piece, for each set of values. Raises TemplateError, here and there, and
    whatever else a template can do wrong, MemoryError not least: nothing here bounds what it makes."""
    return _environment().from_string(template).generate


def _unknown_name(environment: _Environment, tree: _Node) -> str | None:
    """jinja2 itself notices when it compiles, and that computes what is constant."""
    known: dict[str, Container[object]] = {"Filter": environment.filters, "Test": environment.tests}
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        nodes += node.iter_child_nodes()
        kind = type(node).__name__
        name: object = getattr(node, "name", None)
        if kind in known and name not in known[kind]:
            return f"line {node.lineno}: there is no {kind.lower()} called {name}"
    return None


class _Sandbox(ImmutableSandboxedEnvironment):
    """Multiplies numbers only: what most easily makes much of little. Other ways are left; see compiled()."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: object, operator: str, left: object, right: object) -> object:
        """`left` times `right`."""
        if operator == "*" and isinstance(left, int | float) and isinstance(right, int | float):
            return left * right
        raise SecurityError("a chat template multiplies nothing but numbers, and takes no powers")


class _Namespace(Namespace):
    """What templates keep variables in; names that begin with an underscore lead into Python's own."""

    def __setitem__(self, name: str, value: object) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _environment() -> _Environment:
    environment: _Environment = _Sandbox(trim_blocks=True, lstrip_blocks=True)
    environment.add_extension("jinja2.ext.loopcontrols")
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    environment.globals["dict"] = _dict
    environment.globals["namespace"] = _namespace
    return environment


def _to_json(value: object, indent: int | None = None, ensure_ascii: bool = False) -> str:
    """Not jinja2's own, which escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(layout: str) -> str:
    return datetime.now().astimezone().strftime(layout)


def _dict(*pairs: Mapping[str, object], **values: object) -> dict[str, object]:
    return {name: value for each in (*pairs, values) for name, value in each.items()}


def _namespace(*pairs: Mapping[str, object], **values: object) -> Namespace:
    names = _dict(*pairs, **values)
    for name in names:
        _check_name(name)
    return _Namespace(names)


def _check_name(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(
            f"a chat template keeps no variable called {name}: choose a name without the underscore"
        )


def _line(error: TemplateError) -> str:
    line: object = getattr(error, "lineno", None)
    return "" if line is None else f"line {line}: "
