"""The page that a model card becomes: its head for the hub, its tables, and text of others shown as it is."""

import json
import re

import pytest

from model_trainer.core.contracts.calibration import FprRange, Threshold
from model_trainer.core.contracts.detector_evaluation import (
    DetectorComparison,
    Figure,
    Interval,
)
from model_trainer.engine.export.card_page import page_of, text
from tests.unit.engine.export.cards import (
    NASTY,
    data_report,
    decisions,
    evaluation,
    export_report,
    full_card,
    head_of,
    new_card,
    row_of,
)
from tests.unit.engine.export.toys import calibration, config


def test_the_head_is_the_hubs() -> None:
    head = head_of(page_of(full_card()))
    assert head["license"] == "other"
    assert head["library_name"] == "onnx"
    assert head["pipeline_tag"] == "text-classification"
    assert head["base_model"] == "microsoft/deberta-v3-large"
    (entry,) = json.loads(json.dumps(head["model-index"]))
    (result,) = entry["results"]
    metrics = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert metrics == {
        "roc_auc": 0.931234,
        "pr_auc": 0.92,
        "tpr_at_fpr_1": 0.55,
        "tpr_at_fpr_5": 0.75,
        "f1": 0.81,
        "accuracy": 0.84,
        "brier_score": 0.1,
        "ece": 0.03,
    }
    assert result["dataset"]["name"] == f"test texts of run {config().run_id}"


def test_the_page_tells_the_data_the_metrics_and_their_intervals() -> None:
    page = page_of(full_card())
    assert row_of(page, "train") == ["train", "1,600", "800", "800", "799", "190 / -"]
    assert "3 empty texts, 7 duplicates, 2 rows of texts with both labels" in page
    assert row_of(page, "newlines") == ["newlines", "0.940", "yes"]
    assert row_of(page, "poems") == ["poems", "99"]
    assert row_of(page, "ROC AUC")[1] == "0.9312 (0.9212 to 0.9412)"
    assert (
        row_of(page, "ECE, 15 bins of equal mass")[1] == "0.0300 (expected if calibrated: 0.0100 to 0.0500)"
    )
    assert row_of(page, r"fpr\_1 (0.6125)")[-2:] == ["0.0340", "0.10% to 2.30%"]
    assert row_of(page, r"max\_f1 (0.6125)")[-1] == r"\-"
    assert row_of(page, "homoglyphs") == [
        "homoglyphs",
        "300",
        "0.9000",
        r"\+0.0300",
        "0.7000",
        "0.0400",
        "5.50%",
    ]
    assert row_of(page, "numpy") == ["numpy", "2.4"]
    assert "temperature 1.3000" in page


def test_thresholds_are_told_with_the_range_of_the_fpr_and_what_it_rests_on() -> None:
    promise = FprRange(target=0.05, num_human=99, order=95, expected=0.05, low=0.0165, high=0.101)
    told = calibration().thresholds
    more = (*told.thresholds, Threshold(name="fpr_5", value=0.75, fpr_range=promise))
    card = new_card()
    changed = card.calibration.model_copy(
        update={
            "thresholds": told.model_copy(update={"thresholds": more, "band": None, "why_no_band": "few"})
        }
    )
    page = page_of(card.model_copy(update={"calibration": changed}))
    assert row_of(page, r"fpr\_5") == [r"fpr\_5", "0.7500", "5.00% (1.65% to 10.10%)", "99", ""]
    assert row_of(page, r"max\_f1")[-1] == "used unless another is named"
    assert row_of(page, r"fpr\_1")[1:] == [r"\-", r"\-", r"\-", "1 % needs 99 human texts."]
    assert "No abstain band: few" in page
    assert "Abstain band: human up to 0.2000, AI above 0.8000" in page_of(card)


@pytest.mark.parametrize(
    ("regression", "same_data", "interval", "words"),
    [
        (True, True, Interval(low=-0.05, high=-0.01), "on the same texts: AUROC 0.9000 against 0.9300"),
        (
            False,
            False,
            None,
            "on different texts: AUROC 0.9000 against 0.9300, a difference of -0.0300; no regression.",
        ),
    ],
)
def test_a_comparison_is_told(
    *, regression: bool, same_data: bool, interval: Interval | None, words: str
) -> None:
    found = DetectorComparison(
        run_id="01ARZ3NDEKTSV4RRFFQ69G5FAW",
        theirs=0.93,
        ours=0.9,
        difference=-0.03,
        interval=interval,
        regression=regression,
        same_data=same_data,
    )
    page = page_of(new_card(evaluation=evaluation(comparison=found)))
    assert words in page
    assert ("(paired bootstrap: -0.0500 to -0.0100); a regression." in page) is regression


@pytest.mark.parametrize(("passed", "word"), [(True, "taken"), (False, "rejected")])
def test_the_gate_of_int8_is_told(*, passed: bool, word: str) -> None:
    export = full_card().export
    assert export is not None
    assert export.quantization is not None
    gate = export.quantization.model_copy(update={"passed": passed})
    page = page_of(new_card(export=export_report(gate)))
    assert (
        f"int8 was {word} on 2,000 validation texts: AUROC falls by 0.03; 330 bytes instead of 1,000" in page
    )
    assert "int8" not in page_of(new_card(export=export_report(None))).split("## Export")[1]


def test_sections_without_rows_are_left_out() -> None:
    empty = data_report().model_copy(update={"domains": {}, "generators": {}, "audit": ()})
    bare = evaluation().model_copy(update={"slices": (), "robustness": ()})
    page = page_of(new_card(data=empty, evaluation=bare))
    assert "trivial feature" not in page
    assert "| domain |" not in page
    assert "### " not in page


def test_verdicts_by_length_are_told_as_predictions_make_them() -> None:
    by_length: dict[str, object] = {
        "by_length": decisions("max_f1", kept=None).model_copy(update={"f1": Figure(value=0.777)})
    }
    told = page_of(new_card(evaluation=evaluation().model_copy(update=by_length)))
    assert "0.7770" in row_of(told, "max\\_f1 (by length)")[1]
    assert "by length)" not in page_of(new_card(evaluation=evaluation()))


def test_names_from_the_data_can_add_no_line_link_tag_or_field() -> None:
    page = page_of(new_card(name=NASTY, data=data_report(), evaluation=evaluation()))
    head = head_of(page)
    assert head["license"] == "other"
    (entry,) = json.loads(json.dumps(head["model-index"]))
    assert "\n" not in entry["name"]
    assert page.splitlines().count("---") == 2
    body = page.split("---\n", 2)[2]
    assert "<script>" not in body
    assert not re.search(r"(?<!\\)\]\(http", body)
    (title,) = [line for line in page.splitlines() if line.startswith("# ")]
    assert title == r"# evil \| name\](http:\//x) --- \# \<script\>\`x\`   license: mit"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("- item", r"\- item"),
        ("a - b", "a - b"),
        ("https://x.example", r"https:\//x.example"),
        ("www.x.example", r"www\.x.example"),
        ("me@x", r"me\@x"),
        ("a\\*b", r"a\\\*b"),
        ("&lt;b&gt;", r"\&lt;b\&gt;"),
        ("tab\there", "tab here"),
        ("x" * 1001, "x" * 999 + "…"),
        ("x" * 1000, "x" * 1000),
    ],
)
def test_text_is_shown_as_it_is(given: str, shown: str) -> None:
    assert text(given) == shown
