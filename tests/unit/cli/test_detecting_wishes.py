"""What options and a spec file ask of a detector, and what cannot be asked for here."""

from pathlib import Path

import pytest

from model_trainer.cli.detecting import Gpu, Wishes, probe_gpu
from model_trainer.core.compute.machine import Machine
from model_trainer.core.errors import AppError
from model_trainer.engine.devices import cuda_has_bf16, probe_machine
from tests.unit.cli.wishing import CPU, body, wishes

OLD_GPU = Gpu(
    machine=Machine(cpu_count=2, memory_bytes=0, native_bf16=False, cuda_memory_bytes=1), has_bf16=False
)
NEW_GPU = Gpu(machine=OLD_GPU.machine, has_bf16=True)


def test_a_spec_file_says_what_options_do_not() -> None:
    Path("spec.yaml").write_text("from_scratch: true\ndata_paths: [a.csv]\nlayers: 2\n")
    found = body(wishes(file="spec.yaml", data_paths=("b.csv",), layers=3))
    assert found["data_paths"] == [str(Path("a.csv").resolve()), str(Path("b.csv").resolve())]
    assert (found["layers"], found["from_scratch"], found["model_family"]) == (3, True, "text_detector")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_labels_and_encoders_are_told_in_the_users_words(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    found = body(wishes(label_map=("a=b=human", "1=ai"), unlabeled_default_label="AI", model_name="encoder"))
    assert found["columns"] == {"label_map": {"a=b": 0, "1": 1}, "unlabeled_default_label": 1}
    assert found["model_name"] == str((tmp_path / "encoder").resolve())
    assert body(wishes(model_name="org/encoder"))["model_name"] == "org/encoder"


@pytest.mark.parametrize(
    ("changes", "gpu", "expected"),
    [
        ({"gpu_bf16": True}, NEW_GPU, {"device": "cuda", "precision": "bf16"}),
        ({"gpu_bf16": True, "gpu_fp16": True}, NEW_GPU, {"device": "cuda", "precision": "bf16"}),
        ({"gpu_bf16": True, "gpu_fp16": True}, OLD_GPU, {"device": "cuda", "precision": "fp16"}),
        ({"gpu_fp16": True}, NEW_GPU, {"device": "cuda", "precision": "fp16"}),
        ({"gpu_tf32": True}, NEW_GPU, {"device": "cuda", "precision": "fp32", "tf32": True}),
        ({}, CPU, {}),
    ],
)
def test_flags_for_a_gpu_choose_what_it_computes_in(
    changes: dict[str, object], gpu: Gpu, expected: dict[str, object]
) -> None:
    found = body(wishes(**changes), gpu)
    assert {name: found[name] for name in ("device", "precision", "tf32") if name in found} == expected


@pytest.mark.parametrize(
    ("refused", "gpu", "flag"),
    [
        (wishes(gpu_bf16=True), CPU, "--gpu-bf16"),
        (wishes(gpu_tf32=True), CPU, "--gpu-tf32"),
        (wishes(gpu_bf16=True), OLD_GPU, "--gpu-bf16"),
        (wishes(tpu_bf16=True), NEW_GPU, "--tpu-bf16"),
        (wishes(data_paths=()), CPU, "--data-path"),
        (wishes(label_map=("human",)), CPU, "--label-map"),
        (wishes(label_map=("0=person",)), CPU, "--label-map"),
        (wishes(unlabeled_default_label="maybe"), CPU, "--unlabeled-default-label"),
    ],
)
def test_what_cannot_be_asked_for_here_names_its_flag(refused: Wishes, gpu: Gpu, flag: str) -> None:
    with pytest.raises(AppError) as caught:
        body(refused, gpu)
    assert [fault.pointer for fault in caught.value.faults] == [flag]


def test_this_machine_is_asked_what_its_card_can_do() -> None:
    found = probe_gpu()
    assert found.machine == probe_machine()
    assert found.has_bf16 == cuda_has_bf16()
