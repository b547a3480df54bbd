import pytest

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.training import LanguageModelSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.models.gpt2 import FAMILY
from model_trainer.models.gpt2.config import LONGEST_WINDOW, Gpt2Spec

GIB = 2**30
CPU = Machine(cpu_count=2, memory_bytes=8 * GIB, native_bf16=True, cuda_memory_bytes=0)
CUDA = Machine(cpu_count=8, memory_bytes=64 * GIB, native_bf16=False, cuda_memory_bytes=24 * GIB)
VOCAB = 50_257


def spec(**asked: object) -> Gpt2Spec:
    body = {"model_family": "gpt2", "corpus_path": "text", "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"}
    return Gpt2Spec.model_validate(body | asked)


def test_a_newcomer_on_a_cpu_gets_the_tuned_recipe() -> None:
    recipe = FAMILY.resolve(spec(), CPU, vocab_size=96)
    assert recipe.shape == {"n_layer": 4, "n_head": 4, "n_embd": 128, "dropout": 0.0}
    assert (recipe.max_seq_len, recipe.batch_size, recipe.precision) == (128, 16, "bf16")
    assert (recipe.optimizer, recipe.schedule) == ("muon", "warmup_stable_decay")
    assert 800_000 < FAMILY.estimate(recipe).num_parameters < 830_000


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("small", 124_439_808), ("medium", 354_823_168), ("large", 774_030_080), ("xl", 1_557_611_200)],
)
def test_presets_have_the_published_sizes(size: str, parameters: int) -> None:
    recipe = FAMILY.resolve(spec(model_size=size), CUDA, vocab_size=VOCAB)
    assert FAMILY.estimate(recipe).num_parameters == parameters
    assert (recipe.batch_size, recipe.max_seq_len, recipe.optimizer) == (32, 1024, "adamw")
    assert (recipe.precision, recipe.loader_workers, recipe.pin_memory) == ("fp16", 4, True)


def test_learning_rates_fall_with_size() -> None:
    widths = [128, 768, 900, 1024, 1280, 1600, 3200]
    recipes = [FAMILY.resolve(spec(n_embd=width, n_head=4), CUDA, vocab_size=99) for width in widths]
    rates = [recipe.learning_rate for recipe in recipes]
    assert rates == sorted(rates, reverse=True)
    assert rates[1] == rates[2]


def test_a_large_model_on_a_cpu_takes_few_windows_at_once() -> None:
    assert FAMILY.resolve(spec(model_size="small"), CPU, vocab_size=VOCAB).batch_size == 4


def test_sizes_of_ones_own_go_over_those_of_the_preset() -> None:
    recipe = FAMILY.resolve(spec(model_size="small", n_layer=3, dropout=0.1), CPU, vocab_size=VOCAB)
    assert recipe.shape == {"n_layer": 3, "n_head": 12, "n_embd": 768, "dropout": 0.1}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"n_head": 5}, "/n_head"),
        ({"n_embd": 130}, "/n_embd"),
        ({"max_seq_len": LONGEST_WINDOW + 1}, "/max_seq_len"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_field(asked: dict[str, object], field: str) -> None:
    with pytest.raises(AppError) as caught:
        FAMILY.resolve(spec(**asked), CPU, vocab_size=96)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == [field]


def test_another_familys_request_is_refused() -> None:
    other = LanguageModelSpec(
        model_family="gpt2", corpus_path="text", tokenizer_id="01JCB0A8N7Q4T2V5W6X9Y0Z1AB"
    )
    with pytest.raises(AppError, match="gpt2"):
        FAMILY.resolve(other, CPU, vocab_size=96)


def test_muon_keeps_one_moment_of_a_matrix_and_sgd_one_of_everything() -> None:
    need = {
        name: FAMILY.estimate(FAMILY.resolve(spec(optimizer={"name": name}), CPU, vocab_size=96))
        for name in ("adamw", "muon", "sgd")
    }
    parameters = need["sgd"].num_parameters
    assert need["sgd"].optimizer == 4 * parameters
    assert need["adamw"].optimizer == 8 * parameters
    assert need["muon"].optimizer == 8 * parameters - 4 * (4 * 12 * 128 * 128)


def test_half_precision_halves_what_the_blocks_keep() -> None:
    half = FAMILY.estimate(FAMILY.resolve(spec(), CPU, vocab_size=96)).activations
    full = FAMILY.estimate(FAMILY.resolve(spec(precision="fp32"), CPU, vocab_size=96)).activations
    assert 1.9 < full / half <= 2.0
