import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_trainer.engine.data.token_splits import TokenSplit
from model_trainer.engine.protocols import TrainingTask
from model_trainer.engine.tasks.language_modelling import LanguageModellingTask
from tests.unit.engine.evaluation.toys import (
    FixedModel,
    MeanModel,
    RecurrentModel,
    ToyDevice,
    toy_recipe,
    toy_split,
)

VOCAB_SIZE = 6


@pytest.fixture
def train(tmp_path: Path) -> TokenSplit:
    torch.manual_seed(7)
    return toy_split(tmp_path, torch.randint(0, VOCAB_SIZE, (4 * 50 + 1,)).tolist())


@pytest.fixture
def validation(tmp_path: Path) -> TokenSplit:
    return toy_split(tmp_path, [0, 1, 2, 3, 4, 5, 0, 1, 2, 3])


def _task(train: TokenSplit, validation: TokenSplit, **changes: object) -> LanguageModellingTask:
    values: dict[str, object] = {
        "vocab_size": VOCAB_SIZE,
        "max_seq_len": 10,
        "eval_stride": 5,
        "batch_size": 4,
    }
    recipe = toy_recipe().model_copy(update=values | changes)
    return LanguageModellingTask(train=train, validation=validation, recipe=recipe, device=ToyDevice())


def _losses(task: TrainingTask, model: nn.Module, steps: range, *, micro_steps: int = 1) -> list[float]:
    return [
        sum(float(task.loss(model, step=step, micro_step=micro).item()) for micro in range(micro_steps))
        / micro_steps
        for step in steps
    ]


def test_the_loss_is_the_mean_cross_entropy_of_the_batch(tmp_path: Path, validation: TokenSplit) -> None:
    train = toy_split(tmp_path, [0, 1] * 20)
    probabilities = [0.5, 0.2, 0.1, 0.1, 0.05, 0.05]
    task = _task(train, validation, batch_size=3)
    loss = task.loss(FixedModel(probabilities), step=0, micro_step=0)
    assert loss.dtype == torch.float32
    assert float(loss.item()) == pytest.approx(-(math.log(0.5) + math.log(0.2)) / 2, abs=1e-6)


def test_the_gradient_reaches_the_parameters(train: TokenSplit, validation: TokenSplit) -> None:
    model = FixedModel([1 / 6] * 6)
    torch.autograd.backward(_task(train, validation).loss(model, step=0, micro_step=0))
    assert model.logits_V.grad is not None
    assert float(model.logits_V.grad.abs().sum().item()) > 0


@pytest.mark.parametrize("data_order", ["shuffled_windows", "parallel_streams"])
def test_accumulating_micro_batches_equals_one_large_batch(
    train: TokenSplit, validation: TokenSplit, data_order: str
) -> None:
    torch.manual_seed(0)
    model = RecurrentModel(VOCAB_SIZE) if data_order == "parallel_streams" else MeanModel(VOCAB_SIZE)
    whole = _task(train, validation, data_order=data_order)
    parts = _task(train, validation, data_order=data_order, batch_size=2, gradient_accumulation_steps=2)
    assert whole.tokens_per_step == parts.tokens_per_step == 40
    assert whole.samples_per_step == parts.samples_per_step == 4
    assert whole.steps_per_epoch == parts.steps_per_epoch
    assert _losses(whole, model, range(8)) == pytest.approx(
        _losses(parts, model, range(8), micro_steps=2), abs=1e-5
    )


def test_a_recurrent_model_reads_on_with_the_state_of_the_step_before(
    train: TokenSplit, validation: TokenSplit
) -> None:
    torch.manual_seed(0)
    model = RecurrentModel(VOCAB_SIZE)
    windows = _losses(_task(train, validation, data_order="parallel_streams"), model, range(5))
    rows_BS = torch.stack([train.tokens()[50 * row : 50 * row + 51] for row in range(4)]).to(torch.int64)
    logits_BTV = model.next_token_logits(rows_BS[:, :-1], ())[0]
    in_one_go = nn.functional.cross_entropy(logits_BTV.flatten(0, 1), rows_BS[:, 1:].flatten())
    assert sum(windows) / 5 == pytest.approx(float(in_one_go.item()), abs=1e-5)


def test_no_gradient_flows_into_the_step_before(train: TokenSplit, validation: TokenSplit) -> None:
    model = RecurrentModel(VOCAB_SIZE)
    task = _task(train, validation, data_order="parallel_streams")
    for step in range(2):  # the second backward would need the first graph, which is gone
        torch.autograd.backward(task.loss(model, step=step, micro_step=0))
    assert all(not tensor.requires_grad for tensor in task.state().values())


def test_carried_state_is_dropped_at_the_wrap_around(train: TokenSplit, validation: TokenSplit) -> None:
    model = RecurrentModel(VOCAB_SIZE)
    losses = _losses(_task(train, validation, data_order="parallel_streams"), model, range(10))
    assert losses[:5] == losses[5:]
    assert len(set(losses)) == 5


@pytest.mark.parametrize("micro_steps", [1, 2])
def test_a_restored_task_goes_on_exactly(train: TokenSplit, validation: TokenSplit, micro_steps: int) -> None:
    model = RecurrentModel(VOCAB_SIZE)
    changes = {
        "data_order": "parallel_streams",
        "batch_size": 4 // micro_steps,
        "gradient_accumulation_steps": micro_steps,
    }
    unbroken, before, after = (_task(train, validation, **changes) for _ in range(3))
    expected = _losses(unbroken, model, range(5), micro_steps=micro_steps)
    _losses(before, model, range(3), micro_steps=micro_steps)
    state = before.state()
    assert set(state) == {"carry.0"}
    after.load_state(state)
    assert _losses(after, model, range(3, 5), micro_steps=micro_steps) == expected[3:]
    cold = _task(train, validation, **changes)
    assert _losses(cold, model, range(3, 5), micro_steps=micro_steps) != expected[3:]


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_a_restored_task_may_cut_its_rows_differently(
    train: TokenSplit, validation: TokenSplit, cut: int
) -> None:
    model = RecurrentModel(VOCAB_SIZE)
    before = _task(
        train, validation, data_order="parallel_streams", batch_size=2, gradient_accumulation_steps=2
    )
    expected = _losses(before, model, range(5), micro_steps=2)
    again = _task(
        train, validation, data_order="parallel_streams", batch_size=2, gradient_accumulation_steps=2
    )
    _losses(again, model, range(3), micro_steps=2)
    after = _task(
        train,
        validation,
        data_order="parallel_streams",
        batch_size=4 // cut,
        gradient_accumulation_steps=cut,
    )
    after.load_state(again.state())
    assert _losses(after, model, range(3, 5), micro_steps=cut) == pytest.approx(expected[3:], abs=1e-6)


def test_what_a_task_restores_is_a_copy(train: TokenSplit, validation: TokenSplit) -> None:
    given = {"carry.0": torch.rand(1, 4, 8)}
    kept = given["carry.0"].clone()
    task = _task(train, validation, data_order="parallel_streams")
    task.load_state(given)
    given["carry.0"].zero_()
    assert torch.equal(task.state()["carry.0"], kept)


class InPlaceModel(RecurrentModel):
    """Writes its new state where the old one was, transposed."""

    def next_token_logits(
        self, tokens_BT: Tensor, carry: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        logits_BTV, (state_LBD,) = super().next_token_logits(tokens_BT, tuple(each.mT for each in carry))
        if not carry:
            return logits_BTV, (state_LBD.mT,)
        carry[0].copy_(state_LBD.detach().mT)
        return logits_BTV, carry


def test_saved_state_is_a_contiguous_copy_that_training_does_not_touch(
    train: TokenSplit, validation: TokenSplit
) -> None:
    model = InPlaceModel(VOCAB_SIZE)
    task = _task(train, validation, data_order="parallel_streams")
    _losses(task, model, range(1))
    state = task.state()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    _losses(task, model, range(1, 3))
    assert all(tensor.is_contiguous() for tensor in state.values())
    assert all(torch.equal(state[name], kept[name]) for name in kept)
    assert not torch.equal(task.state()["carry.0"], kept["carry.0"])


def test_a_transformer_has_no_state(train: TokenSplit, validation: TokenSplit) -> None:
    task = _task(train, validation)
    _losses(task, MeanModel(VOCAB_SIZE), range(2))
    assert task.state() == {}
    task.load_state({})
    _losses(task, MeanModel(VOCAB_SIZE), range(2, 3))


def test_batches_gathered_ahead_are_the_same(train: TokenSplit, validation: TokenSplit) -> None:
    model = MeanModel(VOCAB_SIZE)
    with _task(train, validation, loader_workers=2) as ahead:
        assert _losses(ahead, model, range(12)) == _losses(_task(train, validation), model, range(12))
    with pytest.raises(RuntimeError, match="after shutdown"):
        ahead.loss(model, step=12, micro_step=0)


def test_page_locking_is_left_out_where_there_is_no_cuda(train: TokenSplit, validation: TokenSplit) -> None:
    task = _task(train, validation, pin_memory=True)
    assert len(_losses(task, MeanModel(VOCAB_SIZE), range(1))) == 1


def test_evaluation_is_exact_over_the_validation_text_and_disturbs_no_training(
    train: TokenSplit, validation: TokenSplit
) -> None:
    probabilities = [0.5, 0.2, 0.1, 0.1, 0.05, 0.05]
    metrics = _task(train, validation).evaluate(FixedModel(probabilities))
    nats = -sum(math.log(probabilities[each]) for each in (1, 2, 3, 4, 5, 0, 1, 2, 3))
    assert metrics == {
        "loss": pytest.approx(nats / 9),
        "perplexity": pytest.approx(math.exp(nats / 9), rel=1e-5),
        "bits_per_byte": pytest.approx(nats / math.log(2) / 10),
        "accuracy": pytest.approx(1 / 9),
    }
    model = RecurrentModel(VOCAB_SIZE)
    disturbed = _task(train, validation, data_order="parallel_streams")
    losses: list[float] = []
    for step in range(5):
        losses += _losses(disturbed, model, range(step, step + 1))
        disturbed.evaluate(model)
    assert losses == _losses(_task(train, validation, data_order="parallel_streams"), model, range(5))


def test_the_forward_pass_is_in_the_recipes_precision_and_the_loss_in_fp32(
    train: TokenSplit, validation: TokenSplit
) -> None:
    class HalfModel(FixedModel):
        def next_token_logits(
            self, tokens_BT: Tensor, carry: tuple[Tensor, ...]
        ) -> tuple[Tensor, tuple[Tensor, ...]]:
            logits_BTV, carry = super().next_token_logits(tokens_BT, carry)
            return logits_BTV.bfloat16(), carry

    device = ToyDevice()
    recipe = toy_recipe(vocab_size=VOCAB_SIZE, precision="bf16")
    task = LanguageModellingTask(train=train, validation=validation, recipe=recipe, device=device)
    assert task.loss(HalfModel([1 / 6] * 6), step=0, micro_step=0).dtype == torch.float32
    assert device.precisions == ["bf16"]


def test_an_evaluation_tells_how_far_it_is(train: TokenSplit, validation: TokenSplit) -> None:
    shares: list[float] = []
    task: TrainingTask = LanguageModellingTask(
        train=train,
        validation=validation,
        recipe=toy_recipe(vocab_size=VOCAB_SIZE),
        device=ToyDevice(),
        on_evaluation=shares.append,
    )
    task.evaluate(MeanModel(VOCAB_SIZE))
    assert shares[-1] == 1.0


def test_the_data_are_known_by_the_text_and_the_tokens_of_both_splits(
    tmp_path: Path, train: TokenSplit, validation: TokenSplit
) -> None:
    known = _task(train, validation, batch_size=2).data_sha256
    assert _task(train, validation).data_sha256 == known
    assert _task(validation, train).data_sha256 != known
    assert _task(train, toy_split(tmp_path, [0, 1, 2, 3, 4, 5, 0, 1, 2, 4])).data_sha256 != known
