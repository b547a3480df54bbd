"""Which tokenizer a detector gets, and what its windows begin and end with."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_trainer.core.contracts.detector import OWN_VOCABULARY, DetectorSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.models.text_detector import FAMILY
from model_trainer.worker.detector.config_file import write_training_config
from model_trainer.worker.detector.tokenizer import (
    DetectorTokenizer,
    TrainingTexts,
    expected_vocab_size,
    write_tokenizer,
)
from tests.unit.models.text_detector.hubs import WORDS, encoder_folder, tokenizer_folder
from tests.unit.worker.bench import Bench
from tests.unit.worker.detector.test_detector_files import CONFIG

PARENT = "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"
TEXTS = [
    f"the cat sat {first}{second}ing on a {second}{first}ly mat" for first in "bdfg" for second in "aeiou"
] * 2


def spec(**fields: object) -> DetectorSpec:
    body = {"model_family": "text_detector", "data_paths": ["a.csv"], "from_scratch": True, **fields}
    return DetectorSpec.model_validate_json(json.dumps(body))


def written(bench: Bench, asked: DetectorSpec, folder: Path) -> DetectorTokenizer:
    def texts() -> TrainingTexts:
        def each() -> Iterator[str]:
            yield from TEXTS

        return TrainingTexts(texts=each, num_bytes=sum(map(len, TEXTS)))

    return write_tokenizer(
        bench.parts, asked, family=FAMILY, folder=folder, texts=texts, report=lambda _share, _message: None
    )


def test_a_vocabulary_nobody_asked_for_is_as_large_as_the_texts_allow(tmp_path: Path) -> None:
    made = written(Bench(), spec(), tmp_path / "model")
    assert 256 < made.vocab_size < OWN_VOCABULARY
    assert (made.prefix, made.suffix, made.pad_id) == ((0,), (0,), 0), "the end of text, at both ends"
    plan = made.plan(spec(window_stride=5), length=16)
    assert (plan.length, plan.stride, plan.stretch) == (16, 5, 14)


def test_a_vocabulary_that_the_texts_cannot_give_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AppError) as raised:
        written(Bench(), spec(vocab_size=5000), tmp_path / "model")
    assert (raised.value.code, raised.value.faults[0].pointer) == (ErrorCode.VOCAB_TOO_LARGE, "/vocab_size")


def test_a_vocabulary_of_a_size_is_of_that_size(tmp_path: Path) -> None:
    assert written(Bench(), spec(vocab_size=300), tmp_path / "model").vocab_size == 300


def test_a_second_attempt_keeps_the_tokenizer_it_finds(tmp_path: Path) -> None:
    first = written(Bench(), spec(vocab_size=300), tmp_path / "model")
    again = written(Bench(), spec(vocab_size=310), tmp_path / "model")
    assert again == first


def test_half_a_tokenizer_is_made_anew(tmp_path: Path) -> None:
    written(Bench(), spec(vocab_size=300), tmp_path / "model")
    (tmp_path / "model" / "tokenizer_config.json").unlink()
    assert written(Bench(), spec(vocab_size=310), tmp_path / "model").vocab_size == 310


def test_what_goes_wrong_otherwise_is_not_mistaken_for_too_few_texts(tmp_path: Path) -> None:
    def no_texts() -> TrainingTexts:
        raise AppError(ErrorCode.DISK_FULL, "The disk is full.")

    with pytest.raises(AppError, match="The disk is full"):
        write_tokenizer(
            Bench().parts,
            spec(),
            family=FAMILY,
            folder=tmp_path / "model",
            texts=no_texts,
            report=lambda _share, _message: None,
        )


def test_a_stop_while_the_tokenizer_is_made_is_heard(tmp_path: Path) -> None:
    def stop(_share: float, _message: str) -> None:
        raise AppError(ErrorCode.LEASE_LOST, "lost")

    with pytest.raises(AppError, match="lost"):
        write_tokenizer(
            Bench().parts,
            spec(),
            family=FAMILY,
            folder=tmp_path / "model",
            texts=lambda: TrainingTexts(texts=lambda: iter(TEXTS), num_bytes=1),
            report=stop,
        )


def test_a_child_takes_its_parents_windows_with_its_tokenizer(tmp_path: Path) -> None:
    bench = Bench()
    parent = bench.parts.artifacts.create("models", PARENT)
    theirs = written(bench, spec(vocab_size=300), parent / "model")
    child = spec(init_from={"run_id": PARENT})
    before = written(bench, child, tmp_path / "before")
    assert (before.sha256, before.prefix) == (theirs.sha256, (0,)), "it has not come to its end"
    write_training_config(CONFIG, parent / "training_config.json")
    after = written(bench, child, tmp_path / "after")
    assert (after.sha256, after.prefix, after.suffix) == (theirs.sha256, (1,), (2,))


def test_a_parent_without_a_tokenizer_is_no_parent(tmp_path: Path) -> None:
    bench = Bench()
    bench.parts.artifacts.create("models", PARENT)
    with pytest.raises(AppError, match=r"no tokenizer\.json") as raised:
        written(bench, spec(init_from={"run_id": PARENT}), tmp_path / "model")
    assert raised.value.faults[0].pointer == "/init_from/run_id"
    assert raised.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_the_size_of_a_vocabulary_is_foreseen_before_there_is_one() -> None:
    bench = Bench()
    assert expected_vocab_size(bench.parts, spec()) == OWN_VOCABULARY
    assert expected_vocab_size(bench.parts, spec(vocab_size=400)) == 400
    assert expected_vocab_size(bench.parts, spec(vocab_size=400, model_name="some/encoder")) == 400


@pytest.mark.parametrize("fields", [{"from_scratch": False}, {"model_name": "some/encoder"}])
def test_the_size_of_an_encoders_own_vocabulary_is_not_known_before(fields: dict[str, object]) -> None:
    assert expected_vocab_size(Bench().parts, spec(**fields)) is None


def test_an_encoder_that_is_named_brings_its_tokenizer_and_what_goes_around_a_text(tmp_path: Path) -> None:
    encoder = str(tokenizer_folder(encoder_folder(tmp_path / "encoder")))
    made = written(Bench(), spec(model_name=encoder), tmp_path / "model")
    assert (made.vocab_size, made.prefix, made.suffix, made.pad_id) == (len(WORDS), (2,), (3,), 0)
    assert made.path == tmp_path / "model" / "tokenizer.json"


def test_an_encoder_that_is_named_reads_with_another_tokenizer_when_that_is_asked_for(tmp_path: Path) -> None:
    encoder = str(tokenizer_folder(encoder_folder(tmp_path / "encoder")))
    made = written(Bench(), spec(model_name=encoder, vocab_size=300), tmp_path / "model")
    assert (made.vocab_size, made.prefix) == (300, (0,))
