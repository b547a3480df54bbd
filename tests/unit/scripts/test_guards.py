"""Each rule of scripts/guards.py: one sample that breaks it, one that keeps it."""

from pathlib import Path

import pytest

from scripts import guards

SRC = "src/model_trainer/engine/training/trainer.py"
SUPERVISOR = "src/model_trainer/worker/supervise.py"

BROKEN = [
    ("no_type_ignore", SRC, "x = f()  # type: ignore[arg-type]\n"),
    ("no_type_ignore", "tests/unit/test_x.py", "# mypy: ignore-errors\n"),
    ("noqa_with_code_and_reason", SRC, "import os  # noqa\n"),
    ("noqa_with_code_and_reason", SRC, "import os  # noqa: F401\n"),
    ("noqa_with_code_and_reason", SRC, "import os  # noqa: F401, S603\n"),
    ("noqa_with_code_and_reason", SRC, "# ruff: noqa: F401\n"),
    ("no_cover_with_reason", SRC, "x = 1  # pragma: no cover\n"),
    ("no_cover_with_reason", SRC, "x = 1  # pragma: no branch\n"),
    ("drift_marker_with_issue", SRC, "x = 1  # TODO: tidy\n"),
    ("drift_marker_with_issue", "tests/unit/test_x.py", "# HACK around the parser\n"),
    ("no_print", SRC, "print('hello')\n"),
    ("no_print", "src/model_trainer/cli/main.py", "print('hello')\n"),
    (
        "no_dataclass_in_contracts",
        "src/model_trainer/core/contracts/run.py",
        "from dataclasses import dataclass\n",
    ),
    ("no_dataclass_in_contracts", "src/model_trainer/core/config/settings.py", "import dataclasses\n"),
    ("broad_except_logs_and_raises", SRC, "try:\n    f()\nexcept Exception:\n    raise\n"),
    ("broad_except_logs_and_raises", SRC, "try:\n    f()\nexcept Exception:\n    log.error('failed')\n"),
    ("broad_except_logs_and_raises", SRC, "try:\n    f()\nexcept:\n    g()\n"),
    ("broad_except_logs_and_raises", SRC, "try:\n    f()\nexcept (OSError, BaseException):\n    g()\n"),
    ("broad_except_logs_and_raises", SRC, "with contextlib.suppress(Exception):\n    f()\n"),
    (
        "broad_except_logs_and_raises",
        SUPERVISOR,
        "def another():\n    try:\n        f()\n    except Exception:\n        g()\n",
    ),
    ("no_silent_except", SRC, "try:\n    f()\nexcept OSError:\n    pass\n"),
    ("no_silent_except", "tests/unit/test_x.py", "try:\n    f()\nexcept OSError:\n    ...\n"),
    ("environment_only_in_config", SRC, "import os\nx = os.environ['HOME']\n"),
    ("environment_only_in_config", SRC, "import os\nx = os.getenv('HOME')\n"),
    ("environment_only_in_config", SRC, "from os import environ\n"),
    ("torch_free_rooms", "src/model_trainer/api/main.py", "import torch\n"),
    ("torch_free_rooms", "src/model_trainer/core/errors/codes.py", "from transformers import GPT2Config\n"),
    ("torch_free_rooms", "src/model_trainer/models/gpt2/config.py", "import torch.nn\n"),
    (
        "torch_free_rooms",
        "src/model_trainer/models/gpt2/__init__.py",
        "try:\n    import torch\nfinally:\n    f()\n",
    ),
    ("torch_free_rooms", "src/model_trainer/models/family.py", "import torch\n"),
    ("torch_free_rooms", "src/model_trainer/tokenizers/bpe/config.py", "import tokenizers\n"),
    ("torch_free_rooms", "src/model_trainer/engine/data/corpus.py", "class A:\n    import numpy\n"),
    (
        "torch_free_rooms",
        "src/model_trainer/registry.py",
        "if x:\n    import sklearn\nelse:\n    import torch\n",
    ),
    (
        "torch_free_rooms",
        "src/model_trainer/infra/x.py",
        "try:\n    f()\nexcept OSError:\n    import torch\n",
    ),
    ("short_files", SRC, "x = 1\n" * 401),
]

KEPT = [
    (SRC, "x = 'type: ignore'\n"),
    (SRC, "import os  # noqa: F401 - part of the public face\n"),
    (SRC, "import os  # noqa: F401, S404 - both are meant\n"),
    (SRC, "x = 1  # pragma: no cover - needs an accelerator\n"),
    (SRC, "x = 1  # TODO(#12): tidy\n"),
    (SRC, "x = 'TODO'\n"),
    (SRC, "console.print('hello')\n"),
    ("scripts/tool.py", "print('hello')\n"),
    ("src/model_trainer/cli/show.py", "from rich import print\nprint('hello')\n"),
    (SRC, "from dataclasses import dataclass\n"),
    (SRC, "try:\n    f()\nexcept Exception:\n    log.exception('failed')\n    raise\n"),
    (
        SRC,
        "try:\n    f()\nexcept Exception as error:\n    log.error('failed')\n    raise AppError() from error\n",
    ),
    (SRC, "try:\n    f()\nexcept (OSError, ValueError):\n    g()\n"),
    (SRC, "with contextlib.suppress(FileNotFoundError):\n    f()\n"),
    (SUPERVISOR, "def _work():\n    try:\n        f()\n    except Exception:\n        g()\n"),
    ("tests/unit/test_x.py", "try:\n    f()\nexcept Exception:\n    g()\n"),
    ("src/model_trainer/core/config/settings.py", "import os\nx = os.environ['HOME']\n"),
    (SRC, "import os\nos.environ['OMP_NUM_THREADS'] = '1'\n"),
    (SRC, "x = request.environ\n"),
    ("src/model_trainer/models/gpt2/__init__.py", "def backend():\n    import torch\n"),
    ("src/model_trainer/models/gpt2/__init__.py", "if TYPE_CHECKING:\n    import torch\n"),
    ("src/model_trainer/models/gpt2/network.py", "import torch\n"),
    ("src/model_trainer/tokenizers/bpe/config.py", "from model_trainer.tokenizers.kind import Kind\n"),
    (SRC, "x = 1\n" * 400),
    ("tests/unit/test_x.py", "x = 1\n" * 401),
]


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_a_file_that_breaks_a_rule_is_found_by_that_rule_alone(rule: str, path: str, text: str) -> None:
    assert {finding.rule for finding in guards.check(path, text)} == {rule}


@pytest.mark.parametrize(("path", "text"), KEPT)
def test_a_file_that_keeps_the_rules_is_left_alone(path: str, text: str) -> None:
    assert guards.check(path, text) == []


def test_every_rule_has_a_broken_sample() -> None:
    assert {rule for rule, _, _ in BROKEN} == {rule.__name__ for rule in guards.RULES}


def test_a_finding_names_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = tmp_path / "src" / "model_trainer" / "engine"
    room.mkdir(parents=True)
    (room / "a.py").write_text("x = 1\nprint(x)\n", encoding="utf-8")

    status = guards.main([], root=tmp_path)

    assert status == 1
    assert capsys.readouterr().out.startswith("src/model_trainer/engine/a.py:2: no_print: ")


def test_a_clean_tree_passes(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("x = 1\n", encoding="utf-8")

    assert guards.main([], root=tmp_path) == 0


def test_single_files_can_be_named(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text("x = 1\n", encoding="utf-8")
    bad.write_text("x = 1  # FIXME\n", encoding="utf-8")

    assert guards.main([str(good)], root=tmp_path) == 0
    assert guards.main([str(bad)], root=tmp_path) == 1
