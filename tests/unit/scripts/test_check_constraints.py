"""pyproject.toml, poetry.lock and constraints.txt say the same, and the check notices when they do not."""

from pathlib import Path

import pytest

from scripts import check_constraints
from scripts.check_constraints import ROOT, render_constraints

PYPROJECT = """
[project]
dependencies = ["Alpha_Lib>=1.0,<2", "beta; sys_platform == 'linux'"]
[project.optional-dependencies]
worker = ["torch==2.13.0"]
"""

LOCK = """
[[package]]
name = "alpha-lib"
version = "1.5"
[[package]]
name = "beta"
version = "0.3"
[[package]]
name = "nvidia-cublas"
version = "13.1"
[[package]]
name = "nvidia-cublas"
version = "13.10"
[[package]]
name = "torch"
version = "2.13.0"
[[package]]
name = "triton"
version = "3.7.1"
[extras]
worker = ["torch"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder whose three files agree."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (tmp_path / "poetry.lock").write_text(LOCK, encoding="utf-8")
    assert check_constraints.main(["--write"], root=tmp_path) == 0
    return tmp_path


def test_this_repository_has_not_drifted(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_constraints.main([], root=ROOT) == 0, capsys.readouterr().err


def test_the_lock_names_no_place_on_this_machine() -> None:
    text = (ROOT / "poetry.lock").read_text(encoding="utf-8")

    assert "file://" not in text
    assert "[package.source]" not in text


def test_constraints_pin_each_package_once_and_leave_cuda_to_torch(project: Path) -> None:
    lines = (project / "constraints.txt").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if not line.startswith("#")] == [
        "alpha-lib==1.5",
        "beta==0.3",
        "torch==2.13.0",
    ]


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("constraints.txt", "beta==0.3", "beta==0.4", "constraints.txt lacks `beta==0.3`"),
        ("constraints.txt", "beta==0.3", "beta==0.3\ngamma==1", "constraints.txt has `gamma==1`"),
        ("poetry.lock", 'version = "0.3"', 'version = "0.4"', "constraints.txt lacks `beta==0.4`"),
        ("pyproject.toml", "Alpha_Lib>=1.0", "Alpha_Lib>=1.6", "poetry.lock holds 1.5"),
        ("pyproject.toml", "beta;", "gamma;", "gamma is in pyproject.toml but not in poetry.lock"),
        ("pyproject.toml", "worker =", "trainer =", "other extras"),
        (
            "poetry.lock",
            'version = "0.3"',
            'version = "0.3"\nsource = { url = "https://mirror.example/simple" }',
            "takes beta from https://mirror.example/simple",
        ),
    ],
)
def test_a_drift_is_named(
    *, project: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str, complaint: str
) -> None:
    file = project / name
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    status = check_constraints.main([], root=project)

    assert status == 1
    assert complaint in capsys.readouterr().err


def test_missing_constraints_count_as_drift(project: Path) -> None:
    (project / "constraints.txt").unlink()

    assert check_constraints.main([], root=project) == 1


def test_two_versions_of_a_package_that_stays_are_refused() -> None:
    lock = check_constraints.Lock.model_validate(
        {"package": [{"name": "beta", "version": "1"}, {"name": "beta", "version": "2"}]}
    )

    with pytest.raises(ValueError, match="beta twice"):
        render_constraints(lock)
