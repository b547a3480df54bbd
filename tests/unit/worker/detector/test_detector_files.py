"""What the stages after a detector's training read and write, and what they take from the data."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from model_trainer.core.contracts.detector import Label, Reading, TrainingConfig, WindowPlan
from model_trainer.core.contracts.export import ExportReport
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.logits import Logits, write_logits
from model_trainer.engine.export.stage import ENOUGH_TEXTS
from model_trainer.worker.detector.baselines import DetectorBaseline, with_baseline
from model_trainer.worker.detector.config_file import read_training_config, write_training_config
from model_trainer.worker.detector.data import counted, scratch_folder, spooled
from model_trainer.worker.detector.stages import read_optional, sample_of

CONFIG = TrainingConfig(
    run_id="r",
    model_family="text_detector",
    spec={},
    recipe={},
    reading=Reading(collapse_whitespace=True, normalise_unicode=False),
    windows=WindowPlan(length=16, stride=14, prefix=(1,), suffix=(2,), pad_id=0),
    focal_gamma=2.0,
    positive_weight=0.5,
    num_parameters=10,
    num_embedding_parameters=4,
    data_sha256="d",
    tokenizer_sha256="t",
)


@dataclass
class Row:
    """A LabelledText."""

    text: str
    label: Label
    group: int = 0
    domain: str = ""
    generator: str = ""
    num_words: int = 1


def logits_of(texts: str, *values: float) -> Logits:
    size = len(values)
    return Logits(
        logits=np.array(values),
        labels=np.array([n % 2 for n in range(size)], dtype=np.int8),
        groups=np.arange(size),
        num_words=np.ones(size, dtype=np.int32),
        domains=np.full(size, ""),
        generators=np.full(size, ""),
        text_sha256=texts,
        attacked_rows=np.zeros(0, dtype=np.int64),
        attacked={},
    )


def left(folder: Path, *values: float, texts: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_logits(logits_of(texts, *values), folder)


def test_a_training_config_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "training_config.json"
    write_training_config(CONFIG, path)
    assert read_training_config(path) == CONFIG
    assert path.read_text().endswith("}\n")


def test_a_missing_training_config_and_a_damaged_one_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "training_config.json"
    with pytest.raises(AppError, match="was not trained to its end") as missing:
        read_training_config(path)
    path.write_text('{"run_id": 5}')
    with pytest.raises(AppError, match="damaged, or of another version") as damaged:
        read_training_config(path)
    assert (missing.value.code, damaged.value.code) == (
        ErrorCode.ARTIFACT_NOT_FOUND,
        ErrorCode.ARTIFACT_CORRUPT,
    )


def test_a_card_does_without_a_file_that_is_not_there_but_not_with_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "export_report.json"
    assert read_optional(path, ExportReport) is None
    path.write_text("{}")
    with pytest.raises(AppError, match="is damaged, or of another version") as raised:
        read_optional(path, ExportReport)
    assert raised.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_a_sample_is_a_seeded_draw_of_each_class_wherever_its_texts_stand() -> None:
    half = ENOUGH_TEXTS // 2

    def rows() -> Iterator[Row]:
        for number in range(3 * half):
            label: Label = 0 if number < 2 * half else 1
            yield Row(str(number), label)

    sample = sample_of(rows(), seed=1)
    assert [label for _, label in sample] == [0] * half + [1] * half
    human = [int(text) for text, label in sample if label == 0]
    assert len(set(human)) == half
    assert 0.4 < sum(number >= half for number in human) / half < 0.6, "late ones as often as early ones"
    assert {text for text, label in sample if label == 1} == {str(n) for n in range(2 * half, 3 * half)}
    assert sample_of(rows(), seed=1) == sample
    assert sample_of(rows(), seed=2) != sample


def test_a_scratch_folder_is_gone_afterwards(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with scratch_folder(cache) as folder:
        (folder / "deep").mkdir()
        assert folder.name.startswith(".tmp-"), "the clean-up knows it by its name"
    assert list(cache.iterdir()) == []


def test_a_scratch_folder_is_gone_when_something_failed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="defect"), scratch_folder(tmp_path / "cache"):
        raise ValueError("defect")
    assert list((tmp_path / "cache").iterdir()) == []


def test_texts_for_a_tokenizer_can_be_read_more_than_once(tmp_path: Path) -> None:
    rows = [Row("a\nb", 0), Row("\u00e4 \ud800", 1)]
    told: list[float] = []
    texts = spooled(rows, tmp_path / "texts.jsonl", report=lambda share, _: told.append(share))
    assert list(texts.texts()) == list(texts.texts()) == ["a\nb", "\u00e4 \ud800"]
    assert texts.num_bytes == 3 + len("\u00e4 ?".encode())
    assert told == [0.0]


def test_bytes_are_reported_as_a_share() -> None:
    told: list[tuple[float, str]] = []
    report = counted(lambda share, message: told.append((share, message)))
    report(500, 2000)
    report(0, 0)
    assert told == [(0.25, "Read 500 of 2,000 bytes"), (0.0, "Read 0 of 0 bytes")]


def test_the_logits_of_the_very_texts_are_chosen_before_all_others(tmp_path: Path) -> None:
    left(tmp_path / "test_logits.npz", 1.0, 2.0, texts="test")
    left(tmp_path / "val_logits.npz", 3.0, 4.0, texts="validation")
    left(tmp_path / "eval" / "01A" / "logits.npz", 5.0, 6.0, texts="outside")
    left(tmp_path / "eval" / "01B" / "logits.npz", 7.0, 8.0, texts="outside")
    (tmp_path / "eval" / "01C").mkdir()
    (tmp_path / "eval" / "01C" / "logits.npz").write_bytes(b"damaged")
    baseline = DetectorBaseline(run_id="r", folder=lambda: nullcontext(tmp_path))
    chosen = {name: baseline.on_text(name) for name in ("validation", "outside", "unknown")}
    firsts = {name: float(found.logits[0]) for name, found in chosen.items() if found is not None}
    assert firsts == {"validation": 3.0, "outside": 7.0, "unknown": 1.0}


def test_a_baseline_that_cannot_be_had_any_more_costs_no_training() -> None:
    def gone() -> AbstractContextManager[Path]:
        raise AppError(ErrorCode.ARTIFACT_NOT_FOUND, "It has gone.")

    assert DetectorBaseline(run_id="r", folder=gone).on_text("test") is None


def test_without_any_logits_left_there_is_nobody_to_compare_with(tmp_path: Path) -> None:
    ours = logits_of("test", 0.0, 1.0)
    assert with_baseline(DetectorBaseline(run_id="r", folder=lambda: nullcontext(tmp_path)), ours) is None
    assert with_baseline(None, ours) is None
    left(tmp_path / "val_logits.npz", 3.0, 4.0, texts="validation")
    found = with_baseline(DetectorBaseline(run_id="r", folder=lambda: nullcontext(tmp_path)), ours)
    assert found is not None
    assert (found[0], found[1].text_sha256) == ("r", "validation")
