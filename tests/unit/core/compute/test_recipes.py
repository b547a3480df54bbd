"""What is left out becomes the machine's and the family's choice; what is said is kept or refused."""

from collections.abc import Mapping

import pytest

from model_trainer.core.compute.machine import Machine
from model_trainer.core.compute.recipes import Defaults, make_recipe, place
from model_trainer.core.contracts.base import dump_json, parse_json_object
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode

DEFAULTS = Defaults(
    max_seq_len=128,
    batch_size=8,
    optimizer="adamw",
    learning_rate={"adamw": 1e-3, "muon": 2e-3, "sgd": 0.1},
    matrix_learning_rate=0.02,
    weight_decay=0.1,
    schedule="cosine",
    warmup_steps=10,
    gradient_clip_norm=1.0,
    num_epochs=2.0,
    max_steps=None,
    carries_state=False,
)
CUDA = 2**34


def machine(*, cuda_memory_bytes: int = 0, native_bf16: bool = False, cpu_count: int = 6) -> Machine:
    return Machine(
        cpu_count=cpu_count,
        memory_bytes=2**34,
        native_bf16=native_bf16,
        cuda_memory_bytes=cuda_memory_bytes,
    )


def spec(fields: Mapping[str, object]) -> TrainSpec:
    return TrainSpec.model_validate(
        {
            "model_family": "gpt2",
            "corpus_path": "shelf",
            "tokenizer_id": "01JD8Z3M6Q4T7V9XW2Y5A1B3C4",
            **fields,
        }
    )


def recipe(fields: Mapping[str, object], *, defaults: Defaults = DEFAULTS) -> Recipe:
    asked = spec(fields)
    return make_recipe(asked, place(asked, machine()), defaults=defaults, shape={"layers": 2}, vocab_size=300)


def refusal(fields: Mapping[str, object], on: Machine) -> tuple[ErrorCode, str]:
    with pytest.raises(AppError) as caught:
        place(spec(fields), on)
    (fault,) = caught.value.faults
    assert fault.message == caught.value.message
    return caught.value.code, fault.pointer


@pytest.mark.parametrize(
    ("on", "device", "precision"),
    [
        (machine(), "cpu", "fp32"),
        (machine(native_bf16=True), "cpu", "bf16"),
        (machine(cuda_memory_bytes=CUDA), "cuda", "fp16"),
        (machine(cuda_memory_bytes=CUDA, native_bf16=True), "cuda", "fp16"),
    ],
)
def test_auto_takes_what_the_machine_does_best(on: Machine, device: str, precision: str) -> None:
    placement = place(spec({}), on)

    assert (placement.device, placement.precision) == (device, precision)
    assert placement.cpu_threads == 6


@pytest.mark.parametrize(
    ("device", "precision", "on"),
    [
        ("cpu", "fp32", machine(native_bf16=True)),
        ("cpu", "bf16", machine(native_bf16=True)),
        ("cpu", "fp32", machine(cuda_memory_bytes=CUDA)),
        ("cuda", "fp16", machine(cuda_memory_bytes=CUDA)),
        ("cuda", "bf16", machine(cuda_memory_bytes=CUDA)),
    ],
)
def test_what_is_asked_for_and_there_is_taken(device: str, precision: str, on: Machine) -> None:
    placement = place(spec({"device": device, "precision": precision}), on)

    assert (placement.device, placement.precision) == (device, precision)


def test_what_a_machine_cannot_do_is_refused_by_its_field() -> None:
    invalid = ErrorCode.CONFIG_INVALID

    assert refusal({"device": "cuda"}, machine()) == (ErrorCode.DEVICE_UNAVAILABLE, "/device")
    assert refusal({"precision": "fp16"}, machine(native_bf16=True)) == (invalid, "/precision")
    assert refusal({"precision": "bf16"}, machine()) == (invalid, "/precision")
    assert refusal({"pin_memory": True}, machine()) == (invalid, "/pin_memory")


def test_the_loader_is_for_cuda_unless_somebody_says_otherwise() -> None:
    on_cpu, on_cuda = place(spec({}), machine()), place(spec({}), machine(cuda_memory_bytes=CUDA))
    assert (on_cpu.loader_workers, on_cpu.pin_memory) == (0, False)
    assert (on_cuda.loader_workers, on_cuda.pin_memory) == (4, True)
    assert place(spec({}), machine(cuda_memory_bytes=CUDA, cpu_count=2)).loader_workers == 2

    asked = spec({"loader_workers": 0, "pin_memory": False, "cpu_threads": 1})
    said = place(asked, machine(cuda_memory_bytes=CUDA))
    assert (said.loader_workers, said.pin_memory, said.cpu_threads) == (0, False, 1)


def test_a_spec_that_says_nothing_gets_the_familys_recipe() -> None:
    made = recipe({})

    assert (made.optimizer, made.learning_rate, made.matrix_learning_rate) == ("adamw", 1e-3, 0.02)
    assert (made.schedule, made.warmup_steps, made.weight_decay) == ("cosine", 10, 0.1)
    assert (made.batch_size, made.max_seq_len, made.gradient_clip_norm) == (8, 128, 1.0)
    assert (made.num_epochs, made.max_steps, made.momentum) == (2.0, None, 0.9)
    assert (made.data_order, made.eval_stride) == ("shuffled_windows", 64)
    assert (made.shape, made.vocab_size) == ({"layers": 2}, 300)


def test_what_a_spec_says_wins_even_when_it_is_zero() -> None:
    made = recipe(
        {
            "batch_size": 3,
            "max_seq_len": 16,
            "gradient_clip_norm": 0.0,
            "max_steps": 5,
            "optimizer": {"name": "muon", "learning_rate": 0.5, "weight_decay": 0.0, "momentum": 0.0},
            "schedule": {"name": "linear", "warmup_steps": 0},
        }
    )

    assert (made.batch_size, made.max_seq_len, made.gradient_clip_norm) == (3, 16, 0.0)
    assert (made.max_steps, made.num_epochs) == (5, None)
    assert (made.optimizer, made.learning_rate, made.weight_decay, made.momentum) == ("muon", 0.5, 0.0, 0.0)
    assert (made.schedule, made.warmup_steps) == ("linear", 0)


def test_a_family_that_carries_state_reads_on_and_evaluates_without_overlap() -> None:
    made = recipe({}, defaults=DEFAULTS.model_copy(update={"carries_state": True}))

    assert (made.data_order, made.eval_stride) == ("parallel_streams", 128)


@pytest.mark.parametrize(
    ("optimizer", "chosen", "momentum"),
    [
        ({"name": "sgd"}, "sgd", 0.9),
        ({"name": "muon"}, "muon", 0.95),
        ({"matrix_learning_rate": 0.03}, "muon", 0.95),
        ({"matrix_learning_rate": 0.03, "momentum": 0.5}, "muon", 0.5),
    ],
)
def test_the_optimizer_follows_from_its_fields(
    optimizer: dict[str, object], chosen: str, momentum: float
) -> None:
    made = recipe({"optimizer": optimizer})

    assert (made.optimizer, made.momentum) == (chosen, momentum)


def test_momentum_without_an_optimizer_that_has_it_is_refused() -> None:
    with pytest.raises(AppError) as caught:
        recipe({"optimizer": {"momentum": 0.9}})
    assert caught.value.faults[0].pointer == "/optimizer/momentum"

    muon = DEFAULTS.model_copy(update={"optimizer": "muon"})
    assert recipe({"optimizer": {"momentum": 0.8}}, defaults=muon).momentum == 0.8


def test_a_recipe_can_be_written_down() -> None:
    made = recipe({})

    assert Recipe.model_validate_json(dump_json(parse_json_object(made.model_dump_json()))) == made
