import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model_trainer.engine.devices import select_device
from model_trainer.engine.tasks.labelled_text import LabelledTextTask, TextOrder, focal_loss
from tests.unit.engine.labelled_toys import Row, Scores, recipe, windows

CPU = select_device("cpu")


def by_definition(logit: float, label: int, *, gamma: float, weight: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    true = p if label else 1 - p
    return -(weight if label else 1.0) * math.pow(1 - true, gamma) * math.log(true)


@given(
    st.floats(-20, 20),
    st.sampled_from([0, 1]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]),
    st.sampled_from([0.2, 1.0, 3.0]),
)
def test_the_focal_loss_is_what_its_paper_says(logit: float, label: int, gamma: float, weight: float) -> None:
    found = focal_loss(
        torch.tensor([logit], dtype=torch.float64),
        torch.tensor([label], dtype=torch.float64),
        gamma=gamma,
        positive_weight=weight,
    )
    expected = by_definition(logit, label, gamma=gamma, weight=weight)
    assert float(found) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_without_gamma_it_is_weighted_cross_entropy() -> None:
    logits, labels = torch.randn(50, generator=torch.Generator().manual_seed(1)), torch.arange(50) % 2.0
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, labels, pos_weight=torch.tensor(2.5), reduction="none"
    )
    assert torch.allclose(focal_loss(logits, labels, gamma=0.0, positive_weight=2.5), expected, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_its_gradient_is_its_derivative_and_finite_for_any_logit(gamma: float) -> None:
    logits = torch.tensor([-3.0, -0.1, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda values: focal_loss(values, labels, gamma=gamma, positive_weight=1.7), (logits,)
    )
    extreme = torch.tensor([-1e4, 1e4, -1e4, 1e4], requires_grad=True)
    labels = torch.tensor([0.0, 0.0, 1.0, 1.0])
    torch.autograd.backward(focal_loss(extreme, labels, gamma=gamma, positive_weight=1.0).sum())
    assert extreme.grad is not None
    assert bool(torch.isfinite(extreme.grad).all())


ROWS = [Row("abcdefghijklmnop"[: 1 + place], 1 if place % 3 == 0 else 0) for place in range(16)]


def task(folder: Path, *, gamma: float = 0.0, weight: float = 1.0, **asked: object) -> LabelledTextTask:
    return LabelledTextTask(
        train=windows(ROWS, folder / "train"),
        validation=windows(ROWS[:6], folder / "validation"),
        recipe=recipe(**asked),
        device=CPU,
        focal_gamma=gamma,
        positive_weight=weight,
    )


def test_every_text_is_learnt_from_once_an_epoch_in_another_order_each_time(tmp_path: Path) -> None:
    order = TextOrder(windows(ROWS, tmp_path), rows=1, seed=3)
    epochs = [
        sorted(draw.text for step in range(start, start + 16) for draw in order.step(step))
        for start in (0, 16, 32)
    ]
    assert epochs == [list(range(16))] * 3
    first, second = ([order.step(step)[0].text for step in range(at, at + 16)] for at in (0, 16))
    assert first != second
    assert first != sorted(first)


def test_the_order_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    found = windows(ROWS, tmp_path)
    straight = TextOrder(found, rows=3, seed=3)
    steps = [straight.step(step) for step in range(40)]
    jumping = TextOrder(found, rows=3, seed=3)
    assert [jumping.step(step) for step in (39, 2, 17)] == [steps[39], steps[2], steps[17]]
    assert [TextOrder(found, rows=3, seed=4).step(step) for step in range(40)] != steps


def test_texts_of_one_length_are_learnt_from_together(tmp_path: Path) -> None:
    rows = [Row("abcd"[: 1 + place % 4]) for place in range(128)]
    order = TextOrder(windows(rows, tmp_path), rows=8, seed=3)
    lengths = [{draw.tokens() for draw in order.step(step)} for step in range(16)]
    assert all(len(each) == 1 for each in lengths)
    assert len({next(iter(each)) for each in lengths[:4]}) > 1, "steps are shuffled, not sorted"


def test_of_a_long_text_any_stretch_is_drawn(tmp_path: Path) -> None:
    order = TextOrder(windows([Row("abcdefg")], tmp_path), rows=1, seed=3)
    drawn = {order.step(step)[0].stretch for step in range(64)}
    assert drawn == {range(start, start + 4) for start in range(4)}


def test_micro_batches_cut_a_step_without_changing_it(tmp_path: Path) -> None:
    model = Scores()
    whole = task(tmp_path / "whole", batch_size=8)
    cut = task(tmp_path / "cut", batch_size=2, gradient_accumulation_steps=4)
    for step in range(6):
        parts = [cut.loss(model, step=step, micro_step=part).item() for part in range(4)]
        assert sum(parts) / 4 == pytest.approx(whole.loss(model, step=step, micro_step=0).item(), rel=1e-5)


def test_the_loss_of_a_batch_is_the_mean_over_its_windows(tmp_path: Path) -> None:
    model = Scores()
    ours = task(tmp_path, gamma=2.0, weight=3.0)
    order = TextOrder(windows(ROWS, tmp_path / "again"), rows=4, seed=42)
    loss = ours.loss(model, step=1, micro_step=0)
    each = []
    for draw in order.step(1):
        ids = [1, *[10 + place for place in draw.stretch], 2]
        logit = model.table[ids].mean().item()
        each.append(by_definition(logit, ROWS[draw.text].label, gamma=2.0, weight=3.0))
    assert loss.item() == pytest.approx(sum(each) / 4, rel=1e-5)
    torch.autograd.backward(loss)
    assert model.table.grad is not None


def test_of_several_heads_the_losses_are_summed(tmp_path: Path) -> None:
    class TwoHeads(Scores):
        def training_logits(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            logits_B = self.forward(input_ids, attention_mask)
            return torch.stack([logits_B, logits_B + 1.0])

    class Other(Scores):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return super().forward(input_ids, attention_mask) + 1.0

    ours = task(tmp_path)
    both, one, other = (
        ours.loss(model, step=0, micro_step=0).item() for model in (TwoHeads(), Scores(), Other())
    )
    assert both == pytest.approx(one + other, rel=1e-6)


def test_validation_is_over_whole_texts(tmp_path: Path) -> None:
    labels = [row.label for row in ROWS[:6]]
    scores = [0.0] * 64
    scores[10] = 6.0  # every text begins with an a: short ones score high, and the first is AI
    scores[11] = -9.0
    model = Scores(scores)
    figures = task(tmp_path, gamma=1.0, weight=2.0).evaluate(model)
    logits = [2.0, -0.75, -0.6, -0.5, -1.0, -0.25]
    losses = [by_definition(z, y, gamma=1.0, weight=2.0) for z, y in zip(logits, labels, strict=True)]
    assert labels == [1, 0, 0, 1, 0, 0]
    assert figures["loss"] == pytest.approx(sum(losses) / 6, rel=1e-6)
    assert figures["accuracy"] == pytest.approx(5 / 6)
    assert figures["f1"] == pytest.approx(2 / 3)
    assert figures["roc_auc"] == pytest.approx((4 + 3) / 8)


def test_a_verdict_is_ai_above_a_half(tmp_path: Path) -> None:
    ours = LabelledTextTask(
        train=windows(ROWS, tmp_path / "train"),
        validation=windows([Row("a", 1), Row("b", 0)], tmp_path / "validation"),
        recipe=recipe(),
        device=CPU,
        focal_gamma=0.0,
        positive_weight=1.0,
    )
    scores = [0.0] * 64
    scores[10], scores[11] = 0.1, -0.1
    assert ours.evaluate(Scores(scores))["accuracy"] == 1.0


def test_one_class_alone_has_no_roc(tmp_path: Path) -> None:
    ours = LabelledTextTask(
        train=windows(ROWS, tmp_path / "train"),
        validation=windows([Row("a")], tmp_path / "validation"),
        recipe=recipe(),
        device=CPU,
        focal_gamma=0.0,
        positive_weight=1.0,
    )
    assert set(ours.evaluate(Scores())) == {"loss", "accuracy", "f1"}


def test_it_tells_how_much_is_validated(tmp_path: Path) -> None:
    told: list[float] = []
    found = windows(ROWS, tmp_path)
    LabelledTextTask(
        train=found,
        validation=found,
        recipe=recipe(),
        device=CPU,
        focal_gamma=0.0,
        positive_weight=1.0,
        on_evaluation=told.append,
    ).evaluate(Scores())
    assert told == [1.0]


def test_sizes_are_counted_in_texts(tmp_path: Path) -> None:
    ours = task(tmp_path, batch_size=2, gradient_accumulation_steps=3)
    assert ours.samples_per_step == 6
    assert ours.steps_per_epoch == pytest.approx(16 / 6)
    assert ours.tokens_per_step == 36


def test_the_digest_is_of_both_splits(tmp_path: Path) -> None:
    def digest(train: list[Row], validation: list[Row], name: str) -> str:
        return LabelledTextTask(
            train=windows(train, tmp_path / name / "t"),
            validation=windows(validation, tmp_path / name / "v"),
            recipe=recipe(),
            device=CPU,
            focal_gamma=0.0,
            positive_weight=1.0,
        ).data_sha256

    ours = digest(ROWS, ROWS[:2], "a")
    assert digest(ROWS, ROWS[:2], "b") == ours
    assert len({ours, digest(ROWS[:3], ROWS[:2], "c"), digest(ROWS, ROWS[:3], "d")}) == 3


def test_nothing_but_the_step_decides_the_next_batch(tmp_path: Path) -> None:
    ours = task(tmp_path)
    assert ours.state() == {}
    before = ours.loss(Scores(), step=2, micro_step=0).item()
    ours.load_state({})
    assert ours.loss(Scores(), step=2, micro_step=0).item() == before
