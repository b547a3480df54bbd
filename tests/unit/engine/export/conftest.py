from pathlib import Path

import pytest

from model_trainer.engine.export.to_onnx import export_onnx
from tests.unit.engine.export.toys import PLAN, toy


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's .onnx file; an export takes seconds."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(toy(), path, windows=PLAN)
    return path
