from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model_trainer.core.contracts.training import DeviceName
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.devices import select_device
from model_trainer.engine.evaluation.judging import (
    as_text_classifier,
    collect_logits,
    judge,
    rows_to_attack,
    write_attacked,
)
from tests.unit.engine.evaluation.toys import ToyDevice
from tests.unit.engine.labelled_toys import AS_IT_IS, PLAN, Row, Scores, letters, recipe, windows

CPU = select_device("cpu")


class Gpu(ToyDevice):
    """Called so, and asked in which precision it is to compute."""

    @property
    def name(self) -> DeviceName:
        return "cuda"


def mean_score(model: Scores, text: str) -> float:
    """By hand, window by window."""
    ids = letters([text])[0]
    starts = [0] if len(ids) <= 4 else [*range(0, len(ids) - 4, 4), len(ids) - 4]
    each = [[1, *ids[start : start + 4], 2] for start in starts]
    return sum(float(model.table[window].mean().item()) for window in each) / len(each)


def test_the_logit_of_a_text_is_the_mean_of_its_windows(tmp_path: Path) -> None:
    model = Scores()
    texts = ["a", "zzzzabcdefghk", "", "abcde", "zz"]
    logits = judge(model, windows([Row(text) for text in texts], tmp_path), device=CPU, recipe=recipe())
    assert logits == pytest.approx([mean_score(model, text) for text in texts], abs=1e-6)


def test_windows_of_one_length_are_judged_together_and_the_longest_first(tmp_path: Path) -> None:
    model = Scores()
    rows = [Row("a" * (1 + place % 4)) for place in range(2100)]
    judge(model, windows(rows, tmp_path), device=CPU, recipe=recipe())
    widths = [ids.shape[1] for ids, _ in model.shown]
    assert all(ids.numel() <= 4096 for ids, _ in model.shown)
    assert widths == [6, 5, 4, 6], "2048 texts, then the rest"
    assert sum(len(ids) for ids, _ in model.shown) == 2100


def test_the_model_is_not_training_meanwhile_and_goes_on_as_it_was(tmp_path: Path) -> None:
    model = Scores().train()
    judge(model, windows([Row("a")], tmp_path), device=CPU, recipe=recipe())
    assert model.trained == [False]
    assert model.training


def test_it_tells_how_far_it_has_come(tmp_path: Path) -> None:
    told: list[float] = []
    rows = [Row("a")] * 3000
    judge(Scores(), windows(rows, tmp_path), device=CPU, recipe=recipe(), report=told.append)
    assert told == [2048 / 3000, 1.0]


def test_logits_that_are_not_numbers_are_an_end(tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        judge(Scores([float("nan")] * 64), windows([Row("a")], tmp_path), device=CPU, recipe=recipe())
    assert caught.value.code is ErrorCode.DIVERGED


def test_all_that_evaluation_needs_is_collected(tmp_path: Path) -> None:
    model = Scores()
    rows = [Row("ab", 1, 5, "news", "gpt", 2), Row("c", 0, 6, None, None, 1), Row("z", 0, 7)]
    found = windows(rows, tmp_path / "clean")
    chosen = np.array([0, 2])
    copies = write_attacked(
        rows,
        chosen=chosen,
        attack=lambda text, seed: text + "z",
        seed=3,
        encode=letters,
        plan=PLAN,
        reading=AS_IT_IS,
        folder=tmp_path / "attacked",
    )
    told: list[float] = []
    logits = collect_logits(
        model,
        found,
        attacked_rows=chosen,
        attacked={"more": copies},
        device=CPU,
        recipe=recipe(),
        report=told.append,
    )
    assert logits.logits == pytest.approx([mean_score(model, row.text) for row in rows])
    assert logits.attacked["more"] == pytest.approx([mean_score(model, text) for text in ("abz", "zz")])
    assert logits.labels.tolist() == [1, 0, 0]
    assert logits.groups.tolist() == [5, 6, 7]
    assert logits.num_words.tolist() == [2, 1, 1]
    assert logits.domains.tolist() == ["news", "", ""]
    assert logits.generators.tolist() == ["gpt", "", ""]
    assert logits.text_sha256 == found.header.text_sha256
    assert logits.attacked_rows.tolist() == [0, 2]
    assert told == [0.5, 1.0]
    assert copies.groups() == [5, 7]
    assert copies.domains() == ["news", ""]
    assert copies.generators() == ["gpt", ""]
    assert copies.labels() == [1, 0]
    assert copies.num_words() == [2, 1]


def test_a_split_can_be_collected_without_attacks_and_without_listeners(tmp_path: Path) -> None:
    found = windows([Row("ab")], tmp_path)
    logits = collect_logits(
        Scores(), found, attacked_rows=np.array([], dtype=np.int64), attacked={}, device=CPU, recipe=recipe()
    )
    assert logits.attacked == {}
    assert len(logits.logits) == 1


def test_each_text_is_attacked_with_a_seed_of_its_own(tmp_path: Path) -> None:
    seeds: list[list[int]] = []
    for run, seed in enumerate((1, 1, 2)):
        seen: list[int] = []

        def attack(text: str, seed: int, seen: list[int] = seen) -> str:
            seen.append(seed)
            return text

        write_attacked(
            [Row("a")] * 3,
            chosen=np.array([0, 1, 2]),
            attack=attack,
            seed=seed,
            encode=letters,
            plan=PLAN,
            reading=AS_IT_IS,
            folder=tmp_path / str(run),
        )
        seeds.append(seen)
    assert seeds[0] == seeds[1] != seeds[2]
    assert len(set(seeds[0])) == 3
    assert all(0 <= seed < 2**31 for seed in seeds[0])


def test_the_texts_to_attack_are_drawn_by_seed_and_ascend() -> None:
    drawn = rows_to_attack(100, at_most=10, seed=1).tolist()
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 10
    assert drawn == rows_to_attack(100, at_most=10, seed=1).tolist()
    assert drawn != rows_to_attack(100, at_most=10, seed=2).tolist()
    assert drawn[-1] > 10


def test_few_texts_are_all_attacked() -> None:
    assert rows_to_attack(3, at_most=10, seed=1).tolist() == [0, 1, 2]


def test_only_classifiers_judge_texts() -> None:
    model = Scores()
    assert as_text_classifier(model) is model
    with pytest.raises(TypeError, match="not Linear"):
        as_text_classifier(nn.Linear(1, 1))
    assert torch.is_tensor(model.table)


def test_training_judges_in_its_own_precision_and_what_is_kept_is_computed_as_the_bundle_will(
    tmp_path: Path,
) -> None:
    found = windows([Row("ab")], tmp_path)
    half = recipe().model_copy(update={"precision": "bf16"})
    gpu = Gpu()
    judge(Scores(), found, device=gpu, recipe=half)
    assert gpu.precisions == ["bf16"]
    collect_logits(
        Scores(),
        found,
        attacked_rows=np.array([0]),
        attacked={"none": found},
        device=gpu,
        recipe=half,
    )
    assert gpu.precisions == ["bf16", "fp32", "fp32"]
