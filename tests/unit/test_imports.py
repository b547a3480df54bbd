"""What each door drags in: the API and the command line must start without the heavy libraries."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "tokenizers", "sentencepiece", "sklearn", "numpy", "pyarrow")


def _imported(statement: str) -> set[str]:
    probe = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in ended.stdout.split() if not name.startswith("model_trainer")}


@pytest.mark.parametrize(
    "statement",
    [
        "import model_trainer.api.main, model_trainer.api.serve",
        "from model_trainer.container import live; import model_trainer.orchestrators.training",
        "from model_trainer.registry import Registry; Registry.discover()",
        "import model_trainer.cli.main",
        "import model_trainer.maintenance.run, model_trainer.maintenance.leftovers",
    ],
)
def test_this_part_of_the_house_starts_without_the_heavy_libraries(statement: str) -> None:
    assert _imported(statement).isdisjoint(HEAVY)


def test_the_help_of_the_command_line_imports_neither_the_api_nor_the_heavy_libraries() -> None:
    statement = (
        "import contextlib, io\n"
        "from model_trainer.__main__ import main\n"
        "sys.argv = ['model-trainer', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main()"
    )
    assert _imported(statement).isdisjoint({*HEAVY, "fastapi", "redis", "rq", "httpx"})


def test_the_command_line_and_what_it_looks_around_with_start_where_there_is_no_fcntl() -> None:
    statement = (
        "sys.modules['fcntl'] = None  # as on Windows: importing it raises ImportError\n"
        "import model_trainer.__main__, model_trainer.container, model_trainer.cli.doctor, model_trainer.cli.up"
    )
    assert "redis" in _imported(statement)
