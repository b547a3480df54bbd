import math
from pathlib import Path

import pytest

from model_trainer.core.contracts.evaluation import Evaluation, LanguageMetrics, TokenisationStats
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.evaluation.compare import compare, read_evaluation


def _evaluation(run_id: str, bits_per_byte: float, *, text_sha256: str = "same") -> Evaluation:
    return Evaluation(
        run_id=run_id,
        evaluation_id=run_id,
        split="validation",
        corpus_sha256="corpus",
        text_sha256=text_sha256,
        tokenizer_sha256=f"tokenizer of {run_id}",
        metrics=LanguageMetrics(
            loss=bits_per_byte * math.log(2),
            perplexity=1.0,
            bits_per_byte=bits_per_byte,
            nats_per_char=1.0,
            accuracy=0.5,
            num_tokens=10,
            num_bytes=10,
            num_characters=10,
            protocol="toy",
        ),
        samples=None,
        tokenisation=TokenisationStats(
            tokens_per_char=1.0,
            tokens_per_word=1.0,
            bytes_per_token=1.0,
            document_tokens_mean=1.0,
            document_tokens_p50=1.0,
            document_tokens_p95=1.0,
            document_tokens_max=1,
        ),
        comparison=None,
    )


@pytest.mark.parametrize(("ours", "regression"), [(1.9, False), (2.0, False), (2.059, False), (2.061, True)])
def test_a_regression_is_worse_by_more_than_the_tolerance(ours: float, regression: bool) -> None:
    comparison = compare(_evaluation("new", ours), _evaluation("old", 2.0))
    assert comparison.run_id == "old"
    assert comparison.same_data
    assert comparison.tolerance == pytest.approx(0.06)
    assert comparison.difference == pytest.approx(ours - 2.0)
    assert comparison.regression is regression


def test_the_tolerance_can_be_chosen() -> None:
    assert compare(_evaluation("new", 2.001), _evaluation("old", 2.0), relative_tolerance=0.0).regression


def test_other_text_is_said_and_never_called_a_regression() -> None:
    comparison = compare(_evaluation("new", 9.0), _evaluation("old", 2.0, text_sha256="other"))
    assert not comparison.same_data
    assert not comparison.regression
    assert comparison.difference == 7.0


def test_an_evaluation_is_read_back_and_a_missing_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    assert read_evaluation(path) is None
    path.write_text(_evaluation("old", 2.0).model_dump_json())
    assert read_evaluation(path) == _evaluation("old", 2.0)


@pytest.mark.parametrize("damage", [b"{}", b"\xff", b""])
def test_a_damaged_evaluation_is_an_error(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(damage)
    with pytest.raises(AppError) as caught:
        read_evaluation(path)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
