from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model_trainer.engine.evaluation.samples import Sample, SamplingPlan, default_prompts, sample
from model_trainer.engine.protocols import Carry, LanguageModel
from tests.unit.engine.evaluation.toys import (
    ByteTokenizer,
    FixedModel,
    RecurrentModel,
    ToyDevice,
    toy_recipe,
    toy_split,
)


class NextLetter(LanguageModel):
    """After a byte comes the next one; after z the end of the text. Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []

    def next_token_logits(self, tokens_BT: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        self.seen.append(tokens_BT[0].tolist())
        following_BT = torch.where(tokens_BT == ord("z"), 256, tokens_BT + 1)
        return torch.nn.functional.one_hot(following_BT, 300).float() * 50, ()


def _sample(
    model: LanguageModel, prompts: list[str], plan: SamplingPlan, **recipe: str | int
) -> tuple[Sample, ...]:
    return sample(
        model,
        prompts,
        plan=plan,
        recipe=toy_recipe().model_copy(update=recipe),
        device=ToyDevice(),
        tokenizer=ByteTokenizer(),
    )


def test_a_prompt_is_continued_and_both_are_kept_apart() -> None:
    (row,) = _sample(NextLetter(), ["ab"], SamplingPlan(num_tokens=4, temperature=0.5, seed=3))
    assert row == Sample(prompt="ab", text="cdef", seed=3, temperature=0.5)


def test_an_end_of_text_ends_a_sample_early() -> None:
    (row,) = _sample(NextLetter(), ["w"], SamplingPlan(num_tokens=100))
    assert row.text == "xyz"


def test_sampling_ends_when_the_one_who_is_asked_before_each_token_says_so() -> None:
    class Enough(Exception):
        pass

    model = NextLetter()

    def look() -> None:
        if len(model.seen) == 3:
            raise Enough

    with pytest.raises(Enough):
        sample(
            model,
            ["a", "b"],
            plan=SamplingPlan(num_tokens=2),
            recipe=toy_recipe(),
            device=ToyDevice(),
            tokenizer=ByteTokenizer(),
            on_token=look,
        )
    assert [bytes(seen).decode() for seen in model.seen] == ["a", "ab", "b"]


def test_a_transformer_is_shown_no_more_than_its_window() -> None:
    model = NextLetter()
    _sample(model, ["abcdefghij"], SamplingPlan(num_tokens=2), max_seq_len=4)
    assert [bytes(seen).decode() for seen in model.seen] == ["ghij", "hijk"]


def test_a_recurrent_model_reads_the_prompt_once_and_then_what_it_wrote() -> None:
    model = NextLetter()
    _sample(model, ["abc"], SamplingPlan(num_tokens=3), data_order="parallel_streams", max_seq_len=2)
    assert [bytes(seen).decode() for seen in model.seen] == ["abc", "d", "e"]


def test_carried_state_gives_what_reading_everything_again_gives() -> None:
    torch.manual_seed(1)
    model = RecurrentModel(257)
    plan = SamplingPlan(num_tokens=20, temperature=1.0, top_k=0, seed=5)
    carried = _sample(model, ["hello"], plan, data_order="parallel_streams")
    again = _sample(model, ["hello"], plan, data_order="shuffled_windows", max_seq_len=100)
    assert carried == again


def test_the_same_seed_gives_the_same_text_and_another_seed_another() -> None:
    model = FixedModel([1 / 300] * 256)
    first, again, other = (
        _sample(model, ["a", "a"], SamplingPlan(num_tokens=30, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first[0] == first[1], "rows do not depend on one another"
    assert first[0].text != other[0].text


def test_zero_temperature_takes_the_most_likely_token() -> None:
    probabilities = [0.001] * 256
    probabilities[ord("q")] = 0.1
    (row,) = _sample(FixedModel(probabilities), ["a"], SamplingPlan(num_tokens=5, temperature=0.0))
    assert row.text == "qqqqq"


def test_top_k_leaves_only_the_most_likely_tokens() -> None:
    probabilities = [0.001] * 256
    probabilities[ord("x")] = probabilities[ord("y")] = 0.01
    plan = SamplingPlan(num_tokens=60, temperature=1.0, top_k=2)
    (row,) = _sample(FixedModel(probabilities), ["a"], plan)
    assert set(row.text) == {"x", "y"}


def test_tokens_are_drawn_with_their_probabilities() -> None:
    probabilities = [1e-9] * 256
    probabilities[ord("x")], probabilities[ord("y")] = 0.8, 0.2
    (row,) = _sample(
        FixedModel(probabilities), ["a"], SamplingPlan(num_tokens=2000, temperature=1.0, top_k=0)
    )
    assert row.text.count("x") / 2000 == pytest.approx(0.8, abs=5 * (0.16 / 2000) ** 0.5)
    (colder,) = _sample(FixedModel(probabilities), ["a"], SamplingPlan(num_tokens=2000, temperature=0.5))
    # At temperature 1/2 probabilities are squared: 0.64 against 0.04.
    assert colder.text.count("x") / 2000 == pytest.approx(0.64 / 0.68, abs=5 * (0.0554 / 2000) ** 0.5)


def test_an_empty_prompt_starts_from_the_end_of_a_text() -> None:
    model = NextLetter()
    (row,) = _sample(model, [""], SamplingPlan(num_tokens=1))
    assert model.seen == [[256]]
    assert row.prompt == ""
    rows = sample(
        FixedModel([0.5, 0.5]),
        [""],
        plan=SamplingPlan(num_tokens=1),
        recipe=toy_recipe(),
        device=ToyDevice(),
        tokenizer=ByteTokenizer(end_of_text=False),
    )
    assert rows[0].text in ("\x00", "\x01")


def test_a_tokenizer_that_changes_the_prompt_still_gives_the_continuation() -> None:
    class Counting(ByteTokenizer):
        """Decodes a longer text to something that does not begin like the shorter one."""

        def decode(self, ids: Sequence[int]) -> str:
            return f"{len(ids)}:{super().decode(ids)}"

    (row,) = sample(
        NextLetter(),
        ["ab"],
        plan=SamplingPlan(num_tokens=2, temperature=0.0),
        recipe=toy_recipe(),
        device=ToyDevice(),
        tokenizer=Counting(),
    )
    assert row.text == "2:cd"


def test_sampling_leaves_the_model_in_the_mode_it_found() -> None:
    model = NextLetter()
    model.train()
    _sample(model, ["a"], SamplingPlan(num_tokens=1))
    assert model.training


def test_default_prompts_are_the_first_words_and_words_further_on(tmp_path: Path) -> None:
    text = "one two three four five six seven eight nine " + " ".join(str(number) for number in range(200))
    split = toy_split(tmp_path, [256, *text.encode()], end_of_text_id=256)
    prompts = default_prompts(split, ByteTokenizer())
    assert prompts[0] == "one two three four five six seven eight"
    assert len(prompts) == len(set(prompts)) == 3
    assert all(len(prompt.split()) == 8 and prompt in text for prompt in prompts)


def test_default_prompts_do_not_reach_into_the_next_document(tmp_path: Path) -> None:
    split = toy_split(tmp_path, [*b"short one", 256, *b"another text"], end_of_text_id=256)
    assert default_prompts(split, ByteTokenizer(), count=1) == ("short one",)


def test_a_text_without_words_gives_one_empty_prompt(tmp_path: Path) -> None:
    split = toy_split(tmp_path, [*b" \n "])
    assert default_prompts(split, ByteTokenizer(end_of_text=False)) == ("",)


def test_default_prompts_do_not_repeat(tmp_path: Path) -> None:
    split = toy_split(tmp_path, [*b"a b "])
    assert default_prompts(split, ByteTokenizer(), count=4) == ("a b", "b")
