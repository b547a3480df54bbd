"""Writes docs/map.md: every room and file with the first sentence of its docstring. `--check` fails when it is stale."""

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "map.md"
HEAD = """# Map

Where everything lies, floor by floor from the top; `DESIGN.md` tells how it works together. Made from the files' own
docstrings by `make map`; the gates fail when it is stale.
"""
FLOORS = (
    (
        "Doors",
        (
            "__main__.py",
            "doors.py",
            "api",
            "cli",
            "discord_bot",
            "worker_entry.py",
            "inference_entry.py",
            "maintenance",
        ),
    ),
    ("Composition", ("container.py",)),
    ("What is set going, and what is done", ("orchestrators", "worker")),
    ("What can be trained", ("registry.py", "models", "tokenizers")),
    ("Training itself", ("engine",)),
    ("Adapters, the client, and judging with a bundle", ("infra", "client", "serving")),
    ("The words all share", ("core",)),
)
OTHERS = ("scripts", "benchmarks")


class Arguments(argparse.Namespace):
    """The command line."""

    check: bool = False


def main() -> None:
    """Writes the page, or with --check compares it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when the page is stale")
    asked = parser.parse_args(namespace=Arguments())
    wanted = page(ROOT)
    if not asked.check:
        PAGE.write_text(wanted)
    elif not PAGE.exists() or PAGE.read_text() != wanted:
        sys.exit("docs/map.md is stale: run `make map`.")


def page(root: Path) -> str:
    """The whole page."""
    package = root / "src" / "model_trainer"
    parts = [HEAD]
    for title, names in FLOORS:
        parts.append(f"\n## {title}\n\n")
        for name in names:
            parts.extend(entries(package / name, depth=0))
    parts.append("\n## Beside the package\n\n")
    for name in OTHERS:
        parts.append(f"- `{name}/`\n")
        parts.extend(line for path in sorted((root / name).glob("*.py")) for line in entries(path, depth=1))
    return "".join(parts)


def entries(path: Path, *, depth: int) -> Iterator[str]:
    """One line for a file; for a folder its own line and those of what is in it."""
    indent = "  " * depth
    if path.is_file():
        yield f"{indent}- `{path.name}`: {first_sentence(path)}\n"
        return
    face = path / "__init__.py"
    yield f"{indent}- `{path.name}/`: {first_sentence(face)}\n"
    inside = [each for each in path.iterdir() if each.suffix == ".py" or (each / "__init__.py").exists()]
    for each in sorted(inside, key=files_first):
        if each != face:
            yield from entries(each, depth=depth + 1)


def files_first(path: Path) -> tuple[bool, str]:
    """The order of a folder's lines."""
    return path.is_dir(), path.name


def first_sentence(path: Path) -> str:
    """Of the module's docstring; without its line breaks."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
    if not text:
        sys.exit(f"{path.relative_to(ROOT)} has no docstring.")
    sentence, dot, _ = text.partition(". ")
    return f"{sentence}." if dot else text


if __name__ == "__main__":
    main()
