"""A bundle serves where there is neither torch nor transformers: the program in docs/serving.md, as it stands there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model_trainer.core.contracts.detector import ExportSpec
from model_trainer.core.contracts.prediction import Prediction
from model_trainer.engine.export.stage import export_detector
from model_trainer.serving.detector import Detector
from tests.unit.engine.export.toys import WORDS, calibration, config, toy, write_tokenizer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text()
TEXTS = (
    "people hope",
    "machine delve wrote this",
    "m\u0430chine\u00a0 del\u200bve",
    "\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440 a",
    "a c a c a c a machine people",
    "machine delve " * 15,
    "[SEP] unheard of",
)
REFUSAL = """
import sys, os, atexit, pathlib
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["REFUSED"].split():
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Refused())
atexit.register(lambda: pathlib.Path(os.environ["IMPORTED"]).write_text(" ".join(sys.modules)))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network with weights that say something."""
    artifact = tmp_path_factory.mktemp("artifact")
    write_tokenizer(artifact)
    export_detector(
        toy(),
        artifact=artifact,
        config=config(),
        vocab_size=len(WORDS),
        calibration=calibration(),
        sample=(),
        spec=ExportSpec(),
        threads=1,
        still_wanted=lambda: None,
    )
    return artifact / "runtime_bundle"


class _Elsewhere:
    """A process that cannot import some libraries."""

    def __init__(self, folder: Path, *, refused: str) -> None:
        (folder / "sitecustomize.py").write_text(REFUSAL)
        self._folder = folder
        self._refused = refused

    def run(self, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
        (self._folder / "serve.py").write_text(program)
        return subprocess.run(
            [sys.executable, self._folder / "serve.py"],
            input="\n".join(TEXTS),
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "PYTHONPATH": str(self._folder),
                "PYTHONUTF8": "1",
                "REFUSED": self._refused,
                "IMPORTED": str(self._folder / "imported"),
                **variables,
            },
        )

    def imported(self) -> set[str]:
        return {name.partition(".")[0] for name in (self._folder / "imported").read_text().split()}


def _example() -> str:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(program)


def _expected(bundle: Path) -> list[Prediction]:
    return Detector.load(bundle, threads=1).judge(TEXTS)


def test_the_program_of_the_docs_judges_as_the_detector_does(bundle: Path, tmp_path: Path) -> None:
    elsewhere = _Elsewhere(tmp_path, refused="torch transformers model_trainer")
    ended = elsewhere.run(_example(), DETECTOR_ONNX_PATH=str(bundle / "model.onnx"))
    assert ended.stderr == ""
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    expected = _expected(bundle)
    assert [row["verdict"] for row in told] == [each.verdict for each in expected]
    assert [row["threshold"] for row in told] == [each.threshold for each in expected]
    assert [row["probability"] for row in told] == pytest.approx(
        [each.probability for each in expected], abs=1e-6
    )
    assert len({round(row["probability"], 4) for row in told}) > 4
    assert elsewhere.imported().isdisjoint({"torch", "transformers", "model_trainer", "pydantic"})
    assert {"onnxruntime", "tokenizers", "numpy"} <= elsewhere.imported()


def test_the_program_of_the_docs_has_at_most_sixty_lines() -> None:
    assert len(_example().splitlines()) <= 60


def test_the_detector_itself_needs_neither_torch_nor_transformers(bundle: Path, tmp_path: Path) -> None:
    program = (
        "import os, sys, json, pathlib\n"
        "from model_trainer.serving.detector import Detector\n"
        "detector = Detector.load(pathlib.Path(os.environ['BUNDLE']), threads=1)\n"
        "for judged in detector.judge(sys.stdin.read().splitlines()):\n"
        "    print(judged.model_dump_json())\n"
    )
    elsewhere = _Elsewhere(tmp_path, refused="torch transformers")
    ended = elsewhere.run(program, BUNDLE=str(bundle), PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT / 'src'}")
    assert ended.stderr == ""
    assert [Prediction.model_validate_json(line) for line in ended.stdout.splitlines()] == _expected(bundle)
    assert elsewhere.imported().isdisjoint({"torch", "transformers"})


@pytest.mark.parametrize(
    "part", ["model.onnx", "model/tokenizer.json", "calibration.json", "reading.json", "manifest.json"]
)
def test_the_program_refuses_a_missing_part_by_name(bundle: Path, tmp_path: Path, part: str) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / part).unlink()
    elsewhere = _Elsewhere(tmp_path, refused="torch transformers")
    ended = elsewhere.run(_example(), DETECTOR_ONNX_PATH=str(copy / "model.onnx"))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"refused: {part} is missing")


def test_the_program_refuses_a_part_of_another_export(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "calibration.json"
    other.write_text(calibration(temperature=9.0).model_dump_json(indent=2))
    elsewhere = _Elsewhere(tmp_path, refused="torch transformers")
    ended = elsewhere.run(
        _example(), DETECTOR_ONNX_PATH=str(bundle / "model.onnx"), DETECTOR_CALIBRATION_PATH=str(other)
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("refused: calibration.json is not the file that was exported")


def test_the_program_says_which_variable_it_needs(tmp_path: Path) -> None:
    ended = _Elsewhere(tmp_path, refused="torch transformers").run(_example())
    assert ended.returncode == 1
    assert "DETECTOR_ONNX_PATH is not set" in ended.stderr
