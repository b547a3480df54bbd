import math
from pathlib import Path

import pytest

from model_trainer.core.contracts.evaluation import Evaluation
from model_trainer.engine.data.token_splits import SplitWriter, TokenSplit
from model_trainer.engine.evaluation.evaluate import (
    EvaluationResult,
    EvaluationSubject,
    evaluate,
    tokenisation_stats,
    write_result,
)
from model_trainer.engine.evaluation.samples import Sample, SamplingPlan
from tests.unit.engine.evaluation.toys import ByteTokenizer, FixedModel, ToyDevice, toy_recipe, toy_split

SUBJECT = EvaluationSubject(
    run_id="run", evaluation_id="evaluation", split="validation", corpus_sha256="corpus"
)
TEXT = "to be or not to be that is the question"


@pytest.fixture
def split(tmp_path: Path) -> TokenSplit:
    return toy_split(tmp_path, [*TEXT.encode()], text=TEXT)


def _evaluate(
    split: TokenSplit, *, baseline: Evaluation | None = None, prompts: tuple[str, ...] = ()
) -> EvaluationResult:
    return evaluate(
        FixedModel([1 / 256] * 256),
        split,
        subject=SUBJECT,
        recipe=toy_recipe(seed=11),
        device=ToyDevice(),
        tokenizer=ByteTokenizer(end_of_text=False),
        prompts=prompts,
        baseline=baseline,
    )


def test_an_evaluation_holds_what_identifies_it_and_exact_metrics(split: TokenSplit) -> None:
    evaluation = _evaluate(split).evaluation
    assert (evaluation.run_id, evaluation.evaluation_id, evaluation.split) == (
        "run",
        "evaluation",
        "validation",
    )
    assert evaluation.corpus_sha256 == "corpus"
    assert evaluation.text_sha256 == split.facts.text_sha256
    assert evaluation.tokenizer_sha256 == ByteTokenizer(end_of_text=False).inspect().sha256
    assert evaluation.metrics.loss == pytest.approx(math.log(256), abs=1e-5)
    assert evaluation.metrics.bits_per_byte == pytest.approx(8 * (len(TEXT) - 1) / len(TEXT), abs=1e-5)
    assert evaluation.samples is not None
    assert evaluation.comparison is None


def test_samples_continue_the_text_unless_prompts_are_given(split: TokenSplit) -> None:
    default = _evaluate(split).samples
    assert default[0].prompt == "to be or not to be that is"
    assert {row.seed for row in default} == {11}
    chosen = _evaluate(split, prompts=("once", "upon")).samples
    assert [row.prompt for row in chosen] == ["once", "upon"]


def test_sampling_can_be_chosen(split: TokenSplit) -> None:
    result = evaluate(
        FixedModel([0.5] + [1e-9] * 255),
        split,
        subject=SUBJECT,
        recipe=toy_recipe(),
        device=ToyDevice(),
        tokenizer=ByteTokenizer(),
        prompts=("a",),
        sampling=SamplingPlan(num_tokens=3, temperature=0.0, seed=9),
    )
    assert result.samples == (Sample(prompt="a", text="\0\0\0", seed=9, temperature=0.0),)


def test_the_report_goes_on_with_each_sampled_token(split: TokenSplit) -> None:
    shares: list[float] = []
    evaluate(
        FixedModel([1 / 256] * 256),
        split,
        subject=SUBJECT,
        recipe=toy_recipe(),
        device=ToyDevice(),
        tokenizer=ByteTokenizer(end_of_text=False),
        prompts=("a",),
        sampling=SamplingPlan(num_tokens=7),
        report=shares.append,
    )
    assert shares[-8:] == [1.0] * 8
    assert shares[:-8] == sorted(share for share in shares[:-8] if share < 1.0)


def test_a_baseline_is_compared_with(split: TokenSplit) -> None:
    first = _evaluate(split).evaluation
    comparison = _evaluate(split, baseline=first).evaluation.comparison
    assert comparison is not None
    assert comparison.same_data
    assert comparison.difference == 0.0
    assert not comparison.regression


def test_evaluating_twice_gives_the_same_files(split: TokenSplit, tmp_path: Path) -> None:
    for name in ("first", "second"):
        paths = write_result(_evaluate(split), tmp_path / name / "eval")
        assert [path.name for path in paths] == ["metrics.json", "samples.jsonl"]
    for file in ("metrics.json", "samples.jsonl"):
        first = (tmp_path / "first" / "eval" / file).read_bytes()
        assert first == (tmp_path / "second" / "eval" / file).read_bytes()
        assert first.endswith(b"\n")


def test_written_files_read_back(split: TokenSplit, tmp_path: Path) -> None:
    result = _evaluate(split)
    metrics, samples = write_result(result, tmp_path / "eval")
    assert Evaluation.model_validate_json(metrics.read_bytes()) == result.evaluation
    lines = samples.read_text().splitlines()
    assert tuple(Sample.model_validate_json(line) for line in lines) == result.samples


def test_tokenisation_is_described_without_end_of_text_tokens(tmp_path: Path) -> None:
    with (tmp_path / "tokens").open("xb") as file:
        writer = SplitWriter(file, token_type="uint16", end_of_text_id=256)
        writer.add("né you", [1, 2, 3], continues=False)
        writer.add("x", [4], continues=False)
    stats = tokenisation_stats(writer.facts())
    assert stats.tokens_per_char == pytest.approx(4 / 7)
    assert stats.tokens_per_word == pytest.approx(4 / 3)
    assert stats.bytes_per_token == pytest.approx(8 / 4)
    assert (stats.document_tokens_mean, stats.document_tokens_max) == (2.0, 3)


def test_an_empty_text_has_finite_statistics(tmp_path: Path) -> None:
    stats = tokenisation_stats(toy_split(tmp_path, []).facts)
    assert (stats.tokens_per_char, stats.bytes_per_token) == (0.0, 0.0)
