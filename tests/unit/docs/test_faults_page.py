import ast
import re
from pathlib import Path

import pytest

from model_trainer.core.failpoints import Failpoint

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "faults.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
ROWS = re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)


def test_the_page_on_faults_lists_the_failpoints_in_their_order() -> None:
    listed = re.findall(r"^\| `(\w+\.\w+)` \|", PAGE, flags=re.MULTILINE)
    assert listed == [point.value for point in Failpoint]


def test_the_fault_matrix_is_complete() -> None:
    assert [str(number) for number in range(1, 43)] == ROWS


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda part: part or "whole file")
def test_a_test_that_the_page_on_faults_names_exists(file: str, test: str) -> None:
    assert (ROOT / file).is_file()
    tree = ast.parse((ROOT / file).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not test or test in names
