"""What processes and libraries are told through the environment."""

import subprocess
import sys
from pathlib import Path

import pytest

from model_trainer.core.config.settings import (
    Settings,
    export_for_libraries,
    load_settings,
    process_environment,
)


def with_env_file(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / ".env"
    path.write_text(text)
    return load_settings(env_file=path)


def test_what_libraries_read_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "/data/hf")
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")

    settings = load_settings(env_file=None)

    assert settings.hf_home == Path("/data/hf")
    assert settings.omp_num_threads == 4
    assert settings.mkl_num_threads is None
    assert settings.tokenizers_parallelism is False


def test_the_environment_that_is_handed_on_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOUR", "blue")
    copy = process_environment()
    copy["COLOUR"] = "red"

    assert process_environment()["COLOUR"] == "blue"


def test_libraries_are_told_what_only_the_environment_can_tell_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        *("HF_HOME", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM"),
        "GOMP_SPINCOUNT",
    ):
        monkeypatch.setenv(name, "")  # restored afterwards
    settings = with_env_file(tmp_path, "HF_HOME=/hf\nOMP_NUM_THREADS=3\nTOKENIZERS_PARALLELISM=true\n")

    export_for_libraries(settings)

    environment = process_environment()
    assert environment["HF_HOME"] == "/hf"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["MKL_NUM_THREADS"] == ""
    assert environment["TOKENIZERS_PARALLELISM"] == "true"


@pytest.fixture
def _nobody_governs_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # restored afterwards
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_nobody_governs_waiting")
def test_threads_that_wait_let_go_of_a_shared_core_soon() -> None:
    export_for_libraries(load_settings(env_file=None))

    assert process_environment()["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.usefixtures("_nobody_governs_waiting")
@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "active")])
def test_how_threads_wait_is_left_to_whoever_said_so(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    export_for_libraries(load_settings(env_file=None))

    assert process_environment()[name] == value
    assert {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & process_environment().keys() == {name}


@pytest.mark.usefixtures("_nobody_governs_waiting")
@pytest.mark.skipif(sys.platform != "linux", reason="torch brings libgomp on Linux alone")
def test_a_worker_says_so_before_libgomp_is_there_to_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_DISPLAY_ENV", "verbose")  # libgomp prints what it read
    line = (
        "from model_trainer.worker_entry import export_for_libraries\n"
        "from model_trainer.core.config import load_settings\n"
        "export_for_libraries(load_settings(env_file=None)); import torch"
    )

    said = subprocess.run(
        [sys.executable, "-c", line], env=process_environment(), check=True, capture_output=True, text=True
    ).stderr

    assert "GOMP_SPINCOUNT = '1000'" in said
