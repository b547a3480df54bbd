import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject, parse_json_object
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.protocols import TextClassifier
from model_trainer.models.text_detector import FAMILY
from model_trainer.models.text_detector.backend import BACKEND, TextDetectorBackend
from model_trainer.models.text_detector.config import TextDetectorSpec
from model_trainer.models.text_detector.network import EncoderPart, TextDetector
from tests.unit.models.text_detector.hubs import FakeHub, encoder_folder, tokenizer_folder

MACHINE = Machine(cpu_count=1, memory_bytes=2**33, native_bf16=False, cuda_memory_bytes=0)
SMALL = {"layers": 2, "hidden_size": 16, "attention_heads": 2, "lexical_buckets": 512, "max_seq_len": 32}
VOCAB = 40
TOKENS = [" Word" if place % 3 else "ed." for place in range(VOCAB)]


def spec(**asked: object) -> TextDetectorSpec:
    body: dict[str, object] = {"model_family": "text_detector", "data_paths": ("texts.csv",)}
    return TextDetectorSpec.model_validate(body | asked)


def recipe(**asked: object) -> Recipe:
    without = {"encoder": ("lexical_buckets",), "lexical": ("layers", "hidden_size", "attention_heads")}
    left_out = dict.fromkeys(without.get(str(asked.get("parts")), ()))
    return FAMILY.resolve(spec(from_scratch=True, **SMALL | left_out | asked), MACHINE, vocab_size=VOCAB)


def documents() -> Iterator[Sequence[int]]:
    generator = torch.Generator().manual_seed(2)
    for length in (5, 40, 12, 1, 30):
        yield torch.randint(0, VOCAB, (length,), generator=generator).tolist()


def made(**asked: object) -> TextDetector:
    """A network whose every weight says something."""
    torch.manual_seed(5)
    model = BACKEND.build(recipe(**asked))
    model.prepare(tokens=TOKENS, documents=documents)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def batch() -> tuple[Tensor, Tensor]:
    ids_BT = torch.randint(0, VOCAB, (3, 20), generator=torch.Generator().manual_seed(7))
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 13:] = 0
    mask_BT[2, 1:] = 0
    return ids_BT, mask_BT


def says(model: TextClassifier, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    with torch.no_grad():
        return model.forward(ids_BT, mask_BT)


KINDS: list[dict[str, object]] = [
    {"parts": "encoder"},
    {"parts": "encoder", "architecture": "bert"},
    {"parts": "both"},
]


@pytest.mark.parametrize("asked", KINDS)
def test_padding_changes_no_logit(asked: dict[str, object]) -> None:
    model = made(**asked)
    ids_BT, mask_BT = batch()
    together = says(model, ids_BT, mask_BT)
    ids_BT = torch.where(mask_BT > 0, ids_BT, 3)
    assert torch.allclose(says(model, ids_BT, mask_BT), together, atol=1e-5)
    for row, length in ((1, 13), (2, 1)):
        alone = says(model, ids_BT[row : row + 1, :length], mask_BT[row : row + 1, :length])
        assert alone.item() == pytest.approx(together[row].item(), abs=1e-4)


def test_the_answer_is_the_mean_of_what_the_heads_say_and_the_wide_one_counts_twice() -> None:
    model = made(parts="both")
    with torch.no_grad():
        heads_HB = model.training_logits(*batch())
    assert heads_HB.shape == (3, 3)
    encoder_B, wide_B, dense_B = heads_HB
    assert torch.allclose(says(model, *batch()), (encoder_B + 2 * wide_B + dense_B) / 4)
    assert len({round(value, 4) for value in heads_HB[:, 0].tolist()}) == 3


def test_each_head_gets_its_gradient() -> None:
    model = made(parts="both")
    torch.autograd.backward(model.training_logits(*batch()).sum())
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == set()


def test_the_mean_is_over_the_text_alone() -> None:
    class Echo(nn.Module):
        """Says the token's number in every place."""

        def forward(self, *, input_ids: Tensor, attention_mask: Tensor) -> object:
            class Output:
                last_hidden_state = input_ids.unsqueeze(-1).double()

            return Output()

    make: Callable[..., EncoderPart] = EncoderPart
    part = make(Echo(), hidden_size=1, dropout=0.0)
    nn.init.ones_(part.head.weight)
    ids_BT = torch.tensor([[4, 8, 99], [6, 99, 99], [5, 5, 5]])
    mask_BT = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    logits = part.forward(ids_BT, mask_BT)
    assert logits.dtype is torch.float32
    assert logits.tolist() == [[6.0, 6.0, 0.0]]


@pytest.mark.parametrize("asked", [*KINDS, {"parts": "lexical"}])
def test_parameters_are_counted_exactly(asked: dict[str, object]) -> None:
    model = BACKEND.build(recipe(**asked))
    estimate = FAMILY.estimate(recipe(**asked))
    assert estimate.num_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_embeddings_are_counted_apart() -> None:
    relative = 2 * 256 * 16
    assert made(parts="encoder").num_embedding_parameters() == VOCAB * 16 + relative
    assert made(parts="both").num_embedding_parameters() == VOCAB * 16 + relative + 512
    bert = made(parts="encoder", architecture="bert")
    assert bert.num_embedding_parameters() == (VOCAB + 512 + 1) * 16


def test_muon_moves_the_matrices_of_layers_and_the_lexical_hidden_one() -> None:
    model = made(parts="both")
    moved = {name for name, _ in model.named_parameters() if model.is_matrix_parameter(name)}
    assert "lexical.hidden.weight" in moved
    assert "lexical.ngrams.weight" not in moved
    assert "encoder_part.head.weight" not in moved
    assert len(moved) == 1 + 2 * 6
    assert not any("embeddings" in name for name in moved)


def test_dropout_is_what_was_asked_for() -> None:
    model = BACKEND.build(recipe(parts="encoder", dropout=0.37))
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert rates == {0.37}


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = made(parts="encoder", dropout=0.0, gradient_checkpointing=checkpointing).train()
        torch.autograd.backward(model.forward(*batch()).sum())
        gradients.append([parameter.grad for parameter in model.parameters()])
        encoder: object = model.get_submodule("encoder_part.encoder")
        assert getattr(encoder, "is_activation_checkpointing") is checkpointing  # noqa: B009 - torch types it as a tensor
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.allclose(plain, recomputed, atol=1e-6)


def test_a_network_without_a_lexical_part_needs_no_preparation() -> None:
    torch.manual_seed(5)
    model = BACKEND.build(recipe(parts="encoder"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.prepare(tokens=TOKENS, documents=documents)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("parts", ["encoder", "both", "lexical"])
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, parts: str) -> None:
    model = made(parts=parts)
    BACKEND.save(model, recipe(parts=parts), tmp_path)
    loaded = BACKEND.load(recipe(parts=parts), tmp_path).eval()
    assert torch.equal(says(loaded, *batch()), says(model, *batch()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    config = parse_json_object((tmp_path / "config.json").read_bytes())
    assert config["model_type"] == ("model_trainer_lexical" if parts == "lexical" else "deberta-v2")


@pytest.mark.filterwarnings("ignore")
def test_transformers_loads_the_encoder_that_was_saved(tmp_path: Path) -> None:
    model = made(parts="both")
    BACKEND.save(model, recipe(parts="both"), tmp_path)
    encoder = AutoModel.from_pretrained(tmp_path)
    ours = model.get_submodule("encoder_part.encoder").state_dict()
    theirs = encoder.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"{"])
def test_files_that_are_gone_or_broken_are_told(tmp_path: Path, name: str, content: bytes | None) -> None:
    BACKEND.save(made(), recipe(), tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AppError) as caught:
        BACKEND.load(recipe(), tmp_path)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    BACKEND.save(made(lexical_buckets=256), recipe(lexical_buckets=256), tmp_path)
    with pytest.raises(AppError, match="names or shapes") as caught:
        BACKEND.load(recipe(), tmp_path)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_only_text_detectors_are_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="TextClassifier"):
        BACKEND.save(TextClassifier(), recipe(), tmp_path)


def test_too_small_a_network_is_refused_when_it_is_made() -> None:
    asked = recipe()
    with pytest.raises(AppError) as caught:
        BACKEND.build(asked.model_copy(update={"shape": asked.shape | {"min_params": 10**9}}))
    assert caught.value.faults[0].pointer == "/min_params"


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2", "electra"])
def test_an_encoder_of_a_folder_is_taken_with_its_weights(tmp_path: Path, kind: str) -> None:
    folder = encoder_folder(tmp_path / "there", kind)
    asked = BACKEND.complete(spec(model_name=str(folder), dropout=0.2))
    resolved = FAMILY.resolve(asked, MACHINE, vocab_size=10)
    assert resolved.vocab_size == 16
    model = BACKEND.build(resolved).eval()
    theirs = AutoModel.from_pretrained(folder).state_dict()
    ours = model.get_submodule("encoder_part.encoder").state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not any("pooler" in name for name in ours)
    ids_BT = torch.randint(4, 16, (2, resolved.max_seq_len))
    assert bool(torch.isfinite(says(model, ids_BT, torch.ones_like(ids_BT))).all())
    (tmp_path / "saved").mkdir()
    BACKEND.save(model, resolved, tmp_path / "saved")
    assert str(tmp_path) not in (tmp_path / "saved" / "config.json").read_text(), "no folder of this disk"
    for path in folder.iterdir():
        path.unlink()
    loaded = BACKEND.load(resolved, tmp_path / "saved").eval()
    mask_BT = torch.ones_like(ids_BT)
    assert torch.equal(says(loaded, ids_BT, mask_BT), says(model, ids_BT, mask_BT))


def test_half_precision_weights_become_whole(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path, "bert", dtype="float16")
    model = BACKEND.build(FAMILY.resolve(spec(model_name=str(folder)), MACHINE, vocab_size=16))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_sizes_left_out_are_those_of_the_configuration(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path, "roberta")
    completed = BACKEND.complete(spec(model_name=str(folder)))
    assert isinstance(completed, TextDetectorSpec)
    assert completed.architecture == "roberta"
    assert (completed.layers, completed.hidden_size, completed.attention_heads) == (2, 16, 2)
    assert (completed.ffn_size, completed.max_position_embeddings, completed.vocab_size) == (24, 38, 16)


@pytest.mark.parametrize("kind", ["roberta", "distilbert"])
def test_an_architecture_of_the_hub_is_made_from_scratch_in_ones_own_size(tmp_path: Path, kind: str) -> None:
    other = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24} if kind == "distilbert" else {}
    folder = encoder_folder(tmp_path, kind, **other)
    asked = spec(model_name=str(folder), from_scratch=True, layers=1, parts="encoder")
    completed = BACKEND.complete(asked)
    assert completed.vocab_size is None
    assert (completed.layers, completed.hidden_size, completed.ffn_size) == (1, 16, 24)
    resolved = FAMILY.resolve(completed, MACHINE, vocab_size=77)
    torch.manual_seed(3)
    model = BACKEND.build(resolved)
    weights = dict(model.named_parameters())
    words = next(value for name, value in weights.items() if "word_embeddings" in name)
    assert words.shape == (77, 16)
    assert not any("layer.1." in name for name in weights)
    ids_BT = torch.randint(2, 77, (1, resolved.max_seq_len))
    assert says(model.eval(), ids_BT, torch.ones_like(ids_BT)).shape == (1,)


def test_an_architecture_that_is_not_the_hubs_is_refused(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path)
    with pytest.raises(AppError) as caught:
        BACKEND.complete(spec(model_name=str(folder), from_scratch=True, architecture="deberta-v2"))
    assert caught.value.faults[0].pointer == "/architecture"


def test_without_a_model_name_nothing_is_looked_up() -> None:
    hub = FakeHub(is_cached=False)
    asked = spec(from_scratch=True)
    assert TextDetectorBackend(hub).complete(asked) is asked
    assert hub.asked_online == 0


def test_the_tokenizer_of_the_hub_brings_what_goes_around_a_text(tmp_path: Path) -> None:
    folder = tokenizer_folder(encoder_folder(tmp_path / "there"))
    (tmp_path / "ours").mkdir()
    plan = BACKEND.write_tokenizer(spec(model_name=str(folder), window_stride=10), tmp_path / "ours")
    assert (plan.prefix, plan.suffix, plan.pad_id) == ((2,), (3,), 0)
    assert (plan.length, plan.stride) == (40, 10)
    assert {"tokenizer.json", "tokenizer_config.json"} <= {
        path.name for path in (tmp_path / "ours").iterdir()
    }
    asked = spec(model_name=str(folder), max_seq_len=20)
    assert BACKEND.write_tokenizer(asked, tmp_path / "ours").length == 20


def test_a_tokenizer_without_padding_pads_with_its_first_token(tmp_path: Path) -> None:
    folder = tokenizer_folder(encoder_folder(tmp_path / "there"), with_padding=False)
    (tmp_path / "ours").mkdir()
    assert BACKEND.write_tokenizer(spec(model_name=str(folder)), tmp_path / "ours").pad_id == 0


def test_without_a_model_name_there_is_no_tokenizer_of_a_hub(tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        BACKEND.write_tokenizer(spec(from_scratch=True), tmp_path)
    assert caught.value.faults[0].pointer == "/model_name"


def test_a_tokenizer_that_is_not_written_as_json_is_refused(tmp_path: Path) -> None:
    class Slow:
        pad_token_id = 0

        def save_pretrained(self, folder: str) -> None:
            (Path(folder) / "vocab.txt").touch()

    class SlowHub(FakeHub):
        def tokenizer(self, name: str, *, cached: bool) -> Slow:
            return Slow()

    backend = TextDetectorBackend(SlowHub(encoder_folder(tmp_path / "there")))
    with pytest.raises(AppError, match=r"tokenizer\.json") as caught:
        backend.write_tokenizer(spec(), tmp_path)
    assert caught.value.faults[0].pointer == "/model_name"


def test_the_default_encoder_is_asked_for_when_none_is_named(tmp_path: Path) -> None:
    names: list[str] = []

    class Listening(FakeHub):
        def config(self, name: str, *, cached: bool) -> JsonObject:
            names.append(name)
            return super().config(name, cached=cached)

    TextDetectorBackend(Listening(encoder_folder(tmp_path))).complete(spec())
    assert names == ["microsoft/deberta-v3-large"]


def test_onnx_runs_the_whole_network(tmp_path: Path) -> None:
    model = made(parts="both")
    path = tmp_path / "model.onnx"
    axes = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            batch(),
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}},
            opset_version=18,
            dynamo=False,
        )
    session = onnxruntime.InferenceSession(path)
    for rows, length in ((1, 32), (5, 7), (2, 1)):
        ids_BT = torch.randint(0, VOCAB, (rows, length))
        mask_BT = torch.ones_like(ids_BT)
        mask_BT[0, length // 2 + 1 :] = 0
        feed = {"input_ids": ids_BT.numpy(), "attention_mask": mask_BT.numpy()}
        (logits,) = session.run(["logits"], feed)
        np.testing.assert_allclose(logits, says(model, ids_BT, mask_BT).numpy(), atol=1e-4)
