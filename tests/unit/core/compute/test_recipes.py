import pytest

from model_trainer.core.compute.machine import Machine
from model_trainer.core.compute.recipes import Defaults, make_recipe, place
from model_trainer.core.contracts.training import OptimizerSpec, Recipe, ScheduleSpec, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode

GIB = 2**30
LAPTOP = Machine(cpu_count=2, memory_bytes=8 * GIB, native_bf16=False, cuda_memory_bytes=0)
WORKSTATION = Machine(cpu_count=16, memory_bytes=64 * GIB, native_bf16=True, cuda_memory_bytes=24 * GIB)
NEW_CPU = Machine(cpu_count=8, memory_bytes=16 * GIB, native_bf16=True, cuda_memory_bytes=0)

DEFAULTS = Defaults(
    max_seq_len=64,
    batch_size=8,
    optimizer="adamw",
    learning_rate={"adamw": 1e-3, "muon": 2e-3, "sgd": 0.5},
    matrix_learning_rate=0.03,
    weight_decay=0.2,
    schedule="cosine",
    warmup_steps=11,
    gradient_clip_norm=2.0,
    num_epochs=3.0,
    max_steps=None,
    carries_state=False,
)


def spec(**asked: object) -> TrainSpec:
    return TrainSpec.model_validate({"model_family": "toy", **asked})


def recipe(asked: TrainSpec, machine: Machine = LAPTOP, *, defaults: Defaults = DEFAULTS) -> Recipe:
    return make_recipe(asked, place(asked, machine), defaults=defaults, shape={"width": 4}, vocab_size=100)


@pytest.mark.parametrize(
    ("machine", "device", "precision"),
    [(LAPTOP, "cpu", "fp32"), (NEW_CPU, "cpu", "bf16"), (WORKSTATION, "cuda", "fp16")],
)
def test_auto_takes_what_the_machine_is_good_at(machine: Machine, device: str, precision: str) -> None:
    placement = place(spec(), machine)
    assert (placement.device, placement.precision) == (device, precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_cuda_computes_in_any_precision(precision: str) -> None:
    assert place(spec(device="cuda", precision=precision), WORKSTATION).precision == precision


def test_the_cpu_can_be_asked_for_where_there_is_cuda() -> None:
    placement = place(spec(device="cpu"), WORKSTATION)
    assert (placement.device, placement.precision, placement.pin_memory) == ("cpu", "bf16", False)


def test_tf32_is_cudas_and_stands_in_the_recipe() -> None:
    assert recipe(spec(tf32=True), WORKSTATION).tf32
    assert not recipe(spec(), WORKSTATION).tf32
    with pytest.raises(AppError, match="leave tf32 out") as caught:
        place(spec(tf32=True), LAPTOP)
    assert [fault.pointer for fault in caught.value.faults] == ["/tf32"]


def test_cuda_loads_with_up_to_four_workers_into_page_locked_memory() -> None:
    assert place(spec(), WORKSTATION).loader_workers == 4
    assert place(spec(), WORKSTATION).pin_memory
    few = WORKSTATION.model_copy(update={"cpu_count": 2})
    assert place(spec(), few).loader_workers == 2
    asked = place(spec(loader_workers=0, pin_memory=False, cpu_threads=3), WORKSTATION)
    assert (asked.loader_workers, asked.pin_memory, asked.cpu_threads) == (0, False, 3)


def test_a_family_that_says_nothing_of_cuda_gets_batches_of_sixteen_there() -> None:
    assert recipe(spec(), LAPTOP).batch_size == 8
    assert recipe(spec(), WORKSTATION).batch_size == 16
    assert recipe(spec(batch_size=3), WORKSTATION).batch_size == 3
    assert (
        recipe(spec(), WORKSTATION, defaults=DEFAULTS.model_copy(update={"cuda_batch_size": 5})).batch_size
        == 5
    )


def test_the_cpu_keeps_its_cores_for_the_model() -> None:
    placement = place(spec(), LAPTOP)
    assert (placement.loader_workers, placement.cpu_threads) == (0, 2)


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ({"device": "cuda"}, ErrorCode.DEVICE_UNAVAILABLE, "/device"),
        ({"precision": "fp16"}, ErrorCode.CONFIG_INVALID, "/precision"),
        ({"precision": "bf16"}, ErrorCode.CONFIG_INVALID, "/precision"),
        ({"pin_memory": True}, ErrorCode.CONFIG_INVALID, "/pin_memory"),
    ],
)
def test_what_the_machine_cannot_do_is_refused_by_field(
    asked: dict[str, object], code: ErrorCode, field: str
) -> None:
    with pytest.raises(AppError) as caught:
        place(spec(**asked), LAPTOP)
    assert caught.value.code is code
    assert [fault.pointer for fault in caught.value.faults] == [field]


def test_what_is_left_out_is_the_familys_choice() -> None:
    made = recipe(spec())
    assert (made.max_seq_len, made.batch_size, made.num_epochs, made.max_steps) == (64, 8, 3.0, None)
    assert (made.optimizer, made.learning_rate, made.weight_decay, made.momentum) == ("adamw", 1e-3, 0.2, 0.9)
    assert (made.schedule, made.warmup_steps, made.gradient_clip_norm) == ("cosine", 11, 2.0)
    assert (made.data_order, made.eval_stride) == ("shuffled_windows", 32)


def test_what_is_asked_for_wins_even_when_it_is_zero() -> None:
    asked = spec(
        max_seq_len=9,
        batch_size=3,
        max_steps=5,
        gradient_clip_norm=0.0,
        optimizer=OptimizerSpec(name="sgd", learning_rate=0.7, weight_decay=0.0, momentum=0.0),
        schedule=ScheduleSpec(name="linear", warmup_steps=0),
    )
    made = recipe(asked)
    assert (made.max_seq_len, made.batch_size, made.num_epochs, made.max_steps) == (9, 3, None, 5)
    assert (made.optimizer, made.learning_rate, made.weight_decay, made.momentum) == ("sgd", 0.7, 0.0, 0.0)
    assert (made.schedule, made.warmup_steps, made.gradient_clip_norm, made.eval_stride) == (
        "linear",
        0,
        0.0,
        4,
    )


def test_a_window_of_two_tokens_still_moves_on() -> None:
    assert recipe(spec(max_seq_len=2)).eval_stride == 1


def test_a_family_that_carries_state_reads_on_in_training_and_evaluation() -> None:
    made = recipe(spec(), defaults=DEFAULTS.model_copy(update={"carries_state": True}))
    assert (made.data_order, made.eval_stride) == ("parallel_streams", 64)


def test_a_learning_rate_for_matrices_asks_for_muon() -> None:
    made = recipe(spec(optimizer=OptimizerSpec(matrix_learning_rate=0.01)))
    assert (made.optimizer, made.matrix_learning_rate, made.learning_rate) == ("muon", 0.01, 2e-3)
    assert made.momentum == 0.95


def test_a_momentum_without_an_optimizer_that_has_one_is_refused() -> None:
    with pytest.raises(AppError) as caught:
        recipe(spec(optimizer=OptimizerSpec(momentum=0.8)))
    assert caught.value.faults[0].pointer == "/optimizer/momentum"
    muon = DEFAULTS.model_copy(update={"optimizer": "muon"})
    assert recipe(spec(optimizer=OptimizerSpec(momentum=0.8)), defaults=muon).momentum == 0.8
