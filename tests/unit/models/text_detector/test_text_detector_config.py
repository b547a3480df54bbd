import pytest

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.training import LanguageModelSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.models.text_detector import FAMILY
from model_trainer.models.text_detector.config import TextDetectorShape, TextDetectorSpec
from model_trainer.models.text_detector.encoders import (
    KNOWN_ENCODERS,
    count_parameters,
    encoder_sizes,
    first_position,
)
from model_trainer.models.text_detector.token_traits import HIDDEN, NUM_FIGURES

GIB = 2**30
CPU = Machine(cpu_count=2, memory_bytes=8 * GIB, native_bf16=True, cuda_memory_bytes=0)
CUDA = Machine(cpu_count=8, memory_bytes=64 * GIB, native_bf16=False, cuda_memory_bytes=80 * GIB)
VOCAB = 8192


def spec(**asked: object) -> TextDetectorSpec:
    body: dict[str, object] = {"model_family": "text_detector", "data_paths": ("texts.csv",)}
    return TextDetectorSpec.model_validate(body | asked)


def scratch(**asked: object) -> TextDetectorSpec:
    return spec(from_scratch=True, **asked)


def shape(asked: TextDetectorSpec) -> TextDetectorShape:
    return TextDetectorShape.of(FAMILY.resolve(asked, CPU, vocab_size=VOCAB))


def refusal(asked: TextDetectorSpec) -> tuple[str, str]:
    with pytest.raises(AppError) as caught:
        FAMILY.resolve(asked, CPU, vocab_size=VOCAB)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    return caught.value.faults[0].pointer, caught.value.message


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("microsoft/deberta-v3-large", 434.0),
        ("microsoft/deberta-v3-base", 183.8),
        ("microsoft/deberta-v3-small", 141.3),
        ("microsoft/deberta-v3-xsmall", 70.7),
        ("google-bert/bert-base-uncased", 108.9),
        ("FacebookAI/roberta-base", 124.1),
    ],
)
def test_well_known_encoders_have_their_published_sizes(name: str, millions: float) -> None:
    assert sum(count_parameters(KNOWN_ENCODERS[name])) / 1e6 == pytest.approx(millions, rel=0.005)


def test_an_encoder_of_the_hub_is_fine_tuned_the_usual_way() -> None:
    recipe = FAMILY.resolve(spec(), CUDA, vocab_size=128_100)
    assert recipe.shape["model_name"] == "microsoft/deberta-v3-large"
    assert (recipe.max_seq_len, recipe.batch_size, recipe.num_epochs) == (512, 16, 3.0)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.schedule) == (2e-5, 0.01, "linear")
    assert recipe.warmup_steps == 100
    assert 4.3e8 < FAMILY.estimate(recipe).num_parameters < 4.4e8


def test_an_unknown_encoder_of_the_hub_is_not_estimated() -> None:
    recipe = FAMILY.resolve(spec(model_name="some/one", batch_size=1), CPU, vocab_size=100)
    assert FAMILY.estimate(recipe).total() == 0
    assert recipe.max_seq_len == 512
    assert not TextDetectorShape.of(recipe).is_known


def test_sizes_that_the_hub_told_are_not_for_others_to_inherit() -> None:
    told = spec(model_name="some/one").model_copy(
        update={
            "architecture": "roberta",
            "layers": 2,
            "hidden_size": 64,
            "attention_heads": 4,
            "ffn_size": 128,
            "max_position_embeddings": 128,
            "vocab_size": 700,
        }
    )
    recipe = FAMILY.resolve(told, CPU, vocab_size=600)
    assert recipe.vocab_size == 700
    assert recipe.max_seq_len == 128
    assert "layers" not in recipe.shape
    assert recipe.shape["hub_layers"] == 2
    found = TextDetectorShape.of(recipe)
    assert (found.architecture, found.layers, found.hidden_size, found.ffn_size) == ("roberta", 2, 64, 128)
    assert found.attention_heads == 4


def test_without_any_size_the_lexical_part_is_all_there_is() -> None:
    recipe = FAMILY.resolve(scratch(), CPU, vocab_size=VOCAB)
    assert recipe.shape["parts"] == "lexical"
    assert recipe.shape["lexical_buckets"] == 2**17
    assert TextDetectorShape.of(recipe).count_parameters(VOCAB) == (2**17, 8322)
    assert "layers" not in recipe.shape
    assert (recipe.max_seq_len, recipe.batch_size, recipe.learning_rate) == (384, 32, 5e-3)
    assert (recipe.num_epochs, recipe.schedule) == (10.0, "cosine")


def test_a_named_size_brings_the_encoder_too() -> None:
    found = shape(scratch(layers=3))
    assert (found.parts, found.architecture, found.layers) == ("both", "deberta-v2", 3)
    assert (found.hidden_size, found.attention_heads, found.ffn_size) == (128, 4, 512)
    assert found.lexical_buckets == 2**17
    assert FAMILY.resolve(scratch(layers=3), CPU, vocab_size=VOCAB).learning_rate == 5e-4


def test_the_encoder_can_stand_alone() -> None:
    found = shape(scratch(parts="encoder"))
    assert (found.parts, found.layers, found.lexical_buckets) == ("encoder", 4, 0)


def test_ones_own_sizes_are_taken() -> None:
    asked = scratch(
        layers=2,
        hidden_size=64,
        attention_heads=2,
        max_position_embeddings=100,
        architecture="bert",
        dropout=0.0,
        lexical_buckets=512,
        gradient_checkpointing=True,
        min_params=5,
    )
    recipe = FAMILY.resolve(asked, CPU, vocab_size=VOCAB)
    found = TextDetectorShape.of(recipe)
    assert (found.architecture, found.layers, found.hidden_size, found.ffn_size) == ("bert", 2, 64, 256)
    assert (found.dropout, found.lexical_buckets, found.gradient_checkpointing) == (0.0, 512, True)
    assert (found.min_params, found.max_position_embeddings) == (5, 100)
    assert recipe.max_seq_len == 100
    assert shape(scratch(ffn_size=77)).ffn_size == 77


def test_a_longer_window_brings_more_positions() -> None:
    assert shape(scratch(layers=1, max_seq_len=700)).max_position_embeddings == 700


def test_the_sizes_of_a_known_encoder_can_be_made_from_scratch() -> None:
    found = shape(scratch(model_name="FacebookAI/roberta-base", layers=1))
    assert (found.architecture, found.model_name) == ("roberta", "FacebookAI/roberta-base")
    assert (found.layers, found.hidden_size) == (1, 768)


def test_too_few_parameters_are_refused_with_both_counts() -> None:
    pointer, message = refusal(scratch(layers=1, parts="encoder", min_params=100_000_000))
    assert pointer == "/min_params"
    assert "1,114,112 in embeddings" in message
    assert "100,000,000" in message


def test_exactly_enough_parameters_will_do() -> None:
    recipe = FAMILY.resolve(scratch(layers=1), CPU, vocab_size=VOCAB)
    exact = FAMILY.estimate(recipe).num_parameters
    assert shape(scratch(layers=1, min_params=exact)).min_params == exact
    assert refusal(scratch(layers=1, min_params=exact + 1))[0] == "/min_params"


def test_weights_are_not_chosen_on_the_texts_that_thresholds_are_fitted_on() -> None:
    assert FAMILY.resolve(scratch(), CPU, vocab_size=100).checkpoint.keep_best is False


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        (scratch(attention_heads=3), "/attention_heads"),
        (scratch(hidden_size=130), "/hidden_size"),
        (scratch(architecture="gpt2"), "/architecture"),
        (scratch(layers=1, max_seq_len=600, max_position_embeddings=512), "/max_seq_len"),
        (spec(max_seq_len=600), "/max_seq_len"),
        (spec(parts="lexical"), "/parts"),
        (scratch(parts="lexical", hidden_size=64), "/hidden_size"),
        (scratch(parts="encoder", lexical_buckets=1024), "/lexical_buckets"),
        (spec(lexical_buckets=1024), "/lexical_buckets"),
        (scratch(parts="lexical", gradient_checkpointing=True), "/gradient_checkpointing"),
        (scratch(loader_workers=2), "/loader_workers"),
        (spec(pin_memory=True), "/pin_memory"),
    ],
)
def test_what_does_not_fit_together_is_refused(asked: TextDetectorSpec, pointer: str) -> None:
    assert refusal(asked)[0] == pointer


def test_a_way_out_is_named_where_there_is_one() -> None:
    assert (
        "raise max_position_embeddings"
        in refusal(scratch(layers=1, max_seq_len=600, max_position_embeddings=512))[1]
    )
    assert "raise" not in refusal(spec(max_seq_len=600))[1]


def test_an_encoder_of_the_hub_may_have_a_lexical_part_beside_it() -> None:
    found = shape(spec(parts="both", lexical_buckets=1024))
    assert (found.parts, found.lexical_buckets, found.from_scratch) == ("both", 1024, False)


def test_a_request_for_another_family_is_refused() -> None:
    other = LanguageModelSpec(
        model_family="gpt2", corpus_path="text", tokenizer_id="01JCB0A8N7Q4T2V5W6X9Y0Z1AB"
    )
    with pytest.raises(AppError) as caught:
        FAMILY.resolve(other, CPU, vocab_size=VOCAB)
    assert caught.value.faults[0].pointer == "/model_family"


def test_memory_grows_with_batch_and_shrinks_with_checkpointing_and_half_precision() -> None:
    def activations(**asked: object) -> int:
        recipe = FAMILY.resolve(
            scratch(layers=4, device="cpu", **{"precision": "fp32", "batch_size": 8} | asked),
            CPU,
            vocab_size=99,
        )
        return FAMILY.estimate(recipe).activations

    assert activations(batch_size=16) == pytest.approx(2 * activations())
    assert activations(gradient_checkpointing=True) < 0.6 * activations()
    assert activations(precision="bf16") < activations()
    assert activations(parts="encoder") < activations()


def test_moments_are_counted_by_optimizer() -> None:
    def moments(name: str, **asked: object) -> float:
        recipe = FAMILY.resolve(scratch(optimizer={"name": name}, **asked), CPU, vocab_size=99)
        estimate = FAMILY.estimate(recipe)
        return 4 * 2 * estimate.num_parameters - estimate.optimizer

    assert moments("adamw") == 0
    assert moments("muon", layers=1, hidden_size=32, parts="encoder") == 4 * 12 * 32**2
    assert moments("muon") == 4 * HIDDEN * NUM_FIGURES
    assert moments("sgd") > moments("muon")


BERT_LIKE: JsonObject = {
    "model_type": "roberta",
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 514,
    "vocab_size": 100,
    "pad_token_id": 1,
    "architectures": ["RobertaForMaskedLM"],
}


def test_sizes_are_read_from_a_configuration() -> None:
    sizes = encoder_sizes(BERT_LIKE)
    assert (sizes.architecture, sizes.layers, sizes.hidden_size) == ("roberta", 2, 32)
    assert (sizes.attention_heads, sizes.ffn_size, sizes.vocab_size) == (4, 64, 100)


def test_positions_before_the_first_token_are_not_for_windows() -> None:
    assert first_position(BERT_LIKE) == 2
    assert encoder_sizes(BERT_LIKE).max_position_embeddings == 512
    assert encoder_sizes(BERT_LIKE | {"model_type": "bert"}).max_position_embeddings == 514
    assert first_position(BERT_LIKE | {"pad_token_id": None}) == 0


def test_other_architectures_call_their_sizes_otherwise() -> None:
    config: JsonObject = {
        "model_type": "distilbert",
        "n_layers": 3,
        "dim": 48,
        "n_heads": 4,
        "max_position_embeddings": 64,
        "vocab_size": 9,
    }
    sizes = encoder_sizes(config)
    assert (sizes.layers, sizes.hidden_size, sizes.attention_heads, sizes.ffn_size) == (3, 48, 4, 192)


@pytest.mark.parametrize(
    "other",
    [
        {"architectures": ["GPT2LMHeadModel"]},
        {"architectures": ["LlamaForCausalLM"]},
        {"is_encoder_decoder": True},
        {"is_decoder": True},
        {"hidden_size": None},
    ],
)
def test_what_is_no_encoder_is_refused(other: JsonObject) -> None:
    with pytest.raises(AppError) as caught:
        encoder_sizes(BERT_LIKE | other)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert caught.value.faults[0].pointer == "/model_name"
