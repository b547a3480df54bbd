"""Every log call in the package names its event in snake_case and carries declared fields only."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import model_trainer
from model_trainer.core.logging import LogFields

PACKAGE = Path(model_trainer.__file__).parent
METHODS = {"debug", "info", "warning", "error"}
FIELDS = frozenset(LogFields.__annotations__)


def loggers(tree: ast.Module) -> set[str]:
    """Module-level names that hold a logger: `log = get_logger(__name__)`."""
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "get_logger"
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def faults(source: str) -> list[str]:
    tree = ast.parse(source)
    names = loggers(tree)
    return [
        f"{node.lineno}: {fault}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for fault in call_faults(node, names)
    ]


def call_faults(call: ast.Call, names: set[str]) -> Iterator[str]:
    match call.func:
        case ast.Attribute(value=ast.Name(id=name), attr=method) if name in names and method in METHODS:
            match call.args:
                case [ast.Constant(value=str(event))] if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", event):
                    pass
                case _:
                    yield "the event is not one literal snake_case name"
        case ast.Name(id="bind_context"):
            pass
        case _:
            return
    for keyword in call.keywords:
        if keyword.arg is None:
            yield "fields are unpacked from a mapping; write them out"
        elif keyword.arg not in FIELDS:
            yield f"{keyword.arg} is not declared in LogFields"


def test_every_call_in_the_package_keeps_to_the_declared_fields() -> None:
    found = {
        str(path.relative_to(PACKAGE)): faults(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }

    assert {path: each for path, each in found.items() if each} == {}
    assert any(loggers(ast.parse((PACKAGE / path).read_text())) for path in found)


def test_a_call_that_does_not_is_found() -> None:
    head = "log = get_logger(__name__)\n"

    for call in (
        "log.info('Run started')",
        "log.info('runStarted')",
        "log.info(f'run_{x}')",
        "log.info()",
        "log.warning('run_started', 3)",
        "log.info('run_started', colour='blue')",
        "log.info('run_started', **fields)",
        "bind_context(colour='blue')",
    ):
        assert len(faults(head + call)) == 1, call


def test_a_call_that_does_is_not_found() -> None:
    head = "log = get_logger(__name__)\n"

    for call in (
        "log.info('run_started', run_id='R1')",
        "log.debug('step')",
        "bind_context(run_id='R1')",
        "other.info('What we like', colour='blue')",
        "log.bind('x')",
    ):
        assert faults(head + call) == [], call
