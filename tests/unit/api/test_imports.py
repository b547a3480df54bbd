"""The API process starts fast and small: nothing of the worker's is loaded."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "sklearn", "numpy", "tokenizers", "sentencepiece", "pyarrow")


def test_the_api_never_loads_what_only_workers_need() -> None:
    code = (
        "import sys; from model_trainer.core.config import load_settings; "
        "from model_trainer.container import in_memory; import model_trainer.api.serve; "
        "from model_trainer.api.main import create_app; "
        "create_app(in_memory(load_settings(env_file=None))).openapi(); "
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert printed.stdout.strip() == "[]"
