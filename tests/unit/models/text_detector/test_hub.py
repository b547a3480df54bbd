import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.models.text_detector.backend import BACKEND, TextDetectorBackend
from model_trainer.models.text_detector.config import TextDetectorSpec
from model_trainer.models.text_detector.hub import Transformers, fetched, transformers
from tests.unit.models.text_detector.hubs import FakeHub, encoder_folder


def spec(model_name: str) -> TextDetectorSpec:
    return TextDetectorSpec(model_family="text_detector", data_paths=("texts.csv",), model_name=model_name)


def caused(cause: Exception) -> OSError:
    error = OSError("transformers' own words\nand more of them")
    error.__cause__ = cause
    return error


def test_what_the_cache_has_is_not_asked_for_over_the_network(tmp_path: Path) -> None:
    hub = FakeHub(encoder_folder(tmp_path))
    TextDetectorBackend(hub).complete(spec("some/encoder"))
    assert hub.asked_online == 0


def test_what_the_cache_lacks_comes_from_the_hub(tmp_path: Path) -> None:
    hub = FakeHub(encoder_folder(tmp_path), is_cached=False)
    TextDetectorBackend(hub).complete(spec("some/encoder"))
    assert hub.asked_online == 1


@pytest.mark.parametrize(
    "error", [OSError("no network"), caused(LocalEntryNotFoundError("no connection")), caused(OSError("?"))]
)
def test_a_hub_out_of_reach_is_told_with_the_ways_out(error: OSError) -> None:
    with pytest.raises(AppError, match=r"HF_HOME.*local folder.*from_scratch") as caught:
        TextDetectorBackend(FakeHub(error=error)).complete(spec("some/encoder"))
    assert caught.value.code is ErrorCode.SERVICE_UNAVAILABLE
    assert [fault.pointer for fault in caught.value.faults] == ["/model_name"]


@pytest.mark.parametrize(
    "error",
    [
        caused(EntryNotFoundError("no config.json")),
        caused(HFValidationError("no name for a repository")),
        ValueError("unrecognised model"),
    ],
)
def test_a_hub_that_says_no_is_told_as_a_wrong_name(error: Exception) -> None:
    with pytest.raises(AppError, match="HF_TOKEN") as caught:
        TextDetectorBackend(FakeHub(error=error)).complete(spec("some/encoder"))
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == ["/model_name"]
    assert "\n" not in caught.value.message


def test_a_folder_without_an_encoder_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    asked: list[bool] = []

    def fetch(cached: bool) -> None:
        asked.append(cached)
        raise OSError("no config.json here")

    with pytest.raises(AppError, match=r"no config\.json here") as caught:
        fetched(str(tmp_path), fetch)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert asked == [True]


def test_a_folder_whose_weights_are_missing_is_refused(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path)
    (folder / "model.safetensors").unlink()
    from model_trainer.core.compute.machine import Machine
    from model_trainer.models.text_detector import FAMILY

    machine = Machine(cpu_count=1, memory_bytes=2**33, native_bf16=False, cuda_memory_bytes=0)
    asked = BACKEND.complete(spec(str(folder)))
    with pytest.raises(AppError) as caught:
        BACKEND.build(FAMILY.resolve(asked, machine, vocab_size=16))
    assert caught.value.code is ErrorCode.CONFIG_INVALID


def test_other_libraries_are_not_taken_for_transformers() -> None:
    assert isinstance(transformers(), Transformers)
    with pytest.raises(TypeError, match="json has no AutoConfig"):
        transformers("json")


@pytest.mark.slow
def test_the_cache_of_the_hub_is_enough_without_a_network(tmp_path: Path) -> None:
    """As HF_HOME lays it out; a process of its own, for the library reads its settings when it is imported."""
    repository = tmp_path / "hub" / "models--some--encoder"
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    encoder_folder(repository / "snapshots" / commit)
    program = (
        "from model_trainer.models.text_detector.backend import BACKEND\n"
        "from model_trainer.models.text_detector.config import TextDetectorSpec\n"
        "asked = TextDetectorSpec(model_family='text_detector', data_paths=('x',), model_name='some/encoder')\n"
        "print(BACKEND.complete(asked).hidden_size)\n"
    )
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "16", done.stderr
