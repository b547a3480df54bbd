import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import JsonValue

from model_trainer.core.contracts.base import JsonObject, parse_json_object
from model_trainer.core.contracts.calibration import FprRange, Threshold
from model_trainer.core.contracts.data_report import (
    DataReport,
    Duplicates,
    LengthStats,
    ShortcutFinding,
    SourceFile,
    SplitFigures,
)
from model_trainer.core.contracts.detector import DecisionName, TrainingConfig
from model_trainer.core.contracts.detector_evaluation import (
    Decisions,
    DetectorComparison,
    DetectorEvaluation,
    Figure,
    Interval,
    NullTest,
    Ranking,
    Robustness,
    Slice,
)
from model_trainer.core.contracts.export import ExportReport, Parity, QuantizationGate
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.engine.export.card import make_card, write_card
from model_trainer.engine.export.card_page import page_of, text
from tests.unit.engine.export.toys import QUALITY, calibration, config

NASTY = "evil | name](http://x)\n---\n# <script>`x` \u2028 license: mit"
WORDS = LengthStats(mean=200.0, p5=80.0, p50=190.0, p95=400.0, max=900)


def _figure(value: float) -> Figure:
    return Figure(value=value, interval=Interval(low=value - 0.01, high=value + 0.01))


def _data() -> DataReport:
    return DataReport(
        data_sha256="a" * 64,
        text_sha256={"train": "b" * 64},
        files=(SourceFile(path=NASTY, num_bytes=10, sha256="c" * 64, num_rows=2000, columns=(), labels=()),),
        num_rows=2000,
        num_empty=3,
        duplicates=Duplicates(same_label=7, conflicting=2, joined_groups=1),
        group_evidence="column pair_id",
        splits={
            "train": SplitFigures(
                num_rows=1600, num_groups=800, num_human=800, num_ai=799, human_words=WORDS, ai_words=None
            )
        },
        domains={"news": 1900, "poems": 99, "law": 100},
        generators={f"gpt-{number:02}": 5 for number in range(12)},
        audit=(
            ShortcutFinding(
                feature="newlines",
                roc_auc=0.94,
                direction="higher_is_ai",
                is_shortcut=True,
                message="newlines alone reach AUROC 0.940",
            ),
            ShortcutFinding(
                feature="digits",
                roc_auc=0.52,
                direction="lower_is_ai",
                is_shortcut=False,
                message="digits: fine",
            ),
        ),
        audit_blocks=True,
        warnings=(),
    )


def _decisions(name: DecisionName, *, kept: bool | None) -> Decisions:
    return Decisions(
        name=name,
        threshold=0.6125,
        f1=_figure(0.81),
        precision=_figure(0.82),
        recall=_figure(0.83),
        accuracy=_figure(0.84),
        mcc=_figure(0.65),
        fpr=Figure(value=0.034),
        fpr_by_source=0.034,
        promised_fpr=None if kept is None else Interval(low=0.001, high=0.023),
        kept_promise=kept,
    )


def _evaluation(*, comparison: DetectorComparison | None = None) -> DetectorEvaluation:
    return DetectorEvaluation(
        run_id=config().run_id,
        evaluation_id="test",
        split="test",
        data_sha256="a" * 64,
        text_sha256="b" * 64,
        num_human=210,
        num_ai=212,
        num_groups=205,
        ranking=Ranking(
            roc_auc=_figure(0.9312345),
            pr_auc=_figure(0.92),
            tpr_at_fpr_1=_figure(0.55),
            tpr_at_fpr_5=_figure(0.75),
        ),
        decisions=(
            _decisions("max_f1", kept=None),
            _decisions("fpr_1", kept=False),
            _decisions("fpr_5", kept=True),
        ),
        decision="max_f1",
        probabilities=QUALITY,
        ece_interval=Interval(low=0.01, high=0.05),
        reliability=(),
        uncertain=0.125,
        slices=(
            Slice(
                column="domain",
                value=NASTY,
                num_human=5,
                num_ai=0,
                roc_auc=None,
                fpr=0.2,
                tpr=None,
                accuracy=0.8,
                threshold="max_f1",
            ),
        ),
        robustness=(
            Robustness(
                attack="homoglyphs",
                num_texts=300,
                roc_auc=0.9,
                roc_auc_loss=0.03,
                tpr=0.7,
                fpr=0.04,
                flips=0.055,
            ),
        ),
        null_test=NullTest(roc_auc_low=0.455, roc_auc_high=0.546, p_value=0.001),
        comparison=comparison,
        warnings=("Few groups.",),
    )


def _export(gate: QuantizationGate | None) -> ExportReport:
    return ExportReport(
        opset=20,
        parity=Parity(num_windows=11, max_difference=2.5e-7, tolerance=1e-4, passed=True),
        quantization=gate,
        bundled="fp32",
        onnx_sha256="9" * 64,
    )


def _card(
    *,
    data: DataReport | None = None,
    evaluation: DetectorEvaluation | None = None,
    export: ExportReport | None = None,
    name: str = "detector",
    trained: TrainingConfig | None = None,
) -> ModelCard:
    told = calibration().model_copy(update={"warnings": ("Fitted on few texts.",)})
    return make_card(
        name=name,
        config=trained or config(),
        calibration=told,
        data=data,
        evaluation=evaluation,
        export=export,
        libraries={"torch": "2.13.0", "numpy": "2.4"},
    )


def _full() -> ModelCard:
    gate = QuantizationGate(
        num_texts=2000,
        fp32_bytes=1000,
        int8_bytes=330,
        fp32_auroc=0.93,
        int8_auroc=0.9,
        auroc_loss=0.03,
        flips=0.02,
        excluded_nodes=("a", "b"),
        passed=False,
        why="AUROC falls by 0.03",
    )
    return _card(data=_data(), evaluation=_evaluation(), export=_export(gate))


def _head(page: str) -> JsonObject:
    _, head, _ = page.split("---\n", 2)
    return parse_json_object(json.dumps(yaml.safe_load(head)))


def _row(page: str, start: str) -> list[str]:
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_both_files_are_written_and_say_the_same_card(tmp_path: Path) -> None:
    write_card(_full(), tmp_path)
    assert ModelCard.model_validate_json((tmp_path / "model_card.json").read_bytes()) == _full()
    assert (tmp_path / "README.md").read_text() == page_of(_full())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "model_card.json"]


def test_the_card_holds_the_choices_that_made_the_model_and_only_those_that_were_made() -> None:
    card = _full()
    assert card.training["loss"] == "weighted focal loss"
    assert card.training["learning_rate"] == 2e-05
    assert card.training["seed"] == 42
    assert "max_steps" not in card.training
    assert card.max_tokens == 8
    assert card.base_model == "microsoft/deberta-v3-large"


def test_without_focal_loss_the_loss_is_called_cross_entropy() -> None:
    plain = config().model_copy(update={"focal_gamma": 0.0})
    card = make_card(
        name="x",
        config=plain,
        calibration=calibration(),
        data=None,
        evaluation=None,
        export=None,
        libraries={},
    )
    assert card.training["loss"] == "weighted binary cross-entropy"


@pytest.mark.parametrize(
    "spec",
    [
        {"from_scratch": True, "model_name": "microsoft/deberta-v3-large"},
        {"from_scratch": False, "model_name": "/home/somebody/encoder"},
        {"from_scratch": False, "model_name": "./encoder"},
        {"from_scratch": True},
    ],
)
def test_only_an_encoder_of_the_hub_is_a_base_model(spec: dict[str, str | bool]) -> None:
    card = make_card(
        name="x",
        config=config().model_copy(update={"spec": spec}),
        calibration=calibration(),
        data=None,
        evaluation=None,
        export=None,
        libraries={},
    )
    assert card.base_model is None
    page = page_of(card)
    assert "base_model" not in _head(page)
    assert _row(page, "base model")[1] == "none (random weights)"


def test_the_limits_name_shortcuts_rare_sources_and_broken_promises() -> None:
    limits = _full().limits
    assert "not evidence against a person" in limits[0]
    assert (
        "A trivial feature tells the classes of the training data apart: newlines alone reach AUROC 0.940"
        in limits
    )
    assert not any("digits" in limit for limit in limits)
    assert "Fewer than 100 texts of each of these domains: poems." in limits
    (generators,) = [limit for limit in limits if "generators" in limit]
    assert generators.endswith("gpt-08, gpt-09 and 2 more.")
    assert (
        "At the threshold fpr_1 more human texts were called AI than promised (3.40% of source documents, promised at most 2.30%)."
        in limits
    )
    assert sum("than promised" in limit for limit in limits) == 1
    assert limits[-2:] == ("Few groups.", "Fitted on few texts.")


def test_decisions_that_were_made_on_validation_texts_are_limits() -> None:
    def limits(**recipe: JsonValue) -> str:
        spec: JsonObject = {"init_from": {"run_id": "R0"}} if recipe.pop("branched", False) else {}
        told: dict[str, object] = {"recipe": recipe, "spec": spec}
        return " ".join(_card(trained=config().model_copy(update=told)).limits)

    chosen, branched = "chosen by their loss on validation", "began with the weights of run R0"
    assert chosen not in limits(checkpoint={"keep_best": False}, early_stopping=None)
    assert chosen in limits(checkpoint={"keep_best": True}, early_stopping=None)
    assert chosen in limits(checkpoint={"keep_best": False}, early_stopping={"patience": 3})
    assert branched in limits(branched=True)
    assert branched not in limits()


def test_what_was_not_measured_is_said_and_has_no_section() -> None:
    card = _card()
    assert "What it was trained on is not recorded here." in card.limits
    assert "It was not measured on texts that no training decision saw." in card.limits
    page = page_of(card)
    titles = [line for line in page.splitlines() if line.startswith("## ")]
    assert titles == [
        "## Intended use",
        "## Limits",
        "## How to use it",
        "## Training",
        "## Calibration",
        "## Thresholds",
        "## Made with",
    ]
    assert "model-index" not in _head(page)
    assert _head(page)["library_name"] == "model-trainer"
    assert "It was not exported" in page


def test_the_head_is_the_hubs() -> None:
    head = _head(page_of(_full()))
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
    page = page_of(_full())
    assert _row(page, "train") == ["train", "1,600", "800", "800", "799", "190 / -"]
    assert "3 empty texts, 7 duplicates, 2 rows of texts with both labels" in page
    assert _row(page, "newlines") == ["newlines", "0.940", "yes"]
    assert _row(page, "poems") == ["poems", "99"]
    assert _row(page, "ROC AUC")[1] == "0.9312 (0.9212 to 0.9412)"
    assert _row(page, "ECE, 15 bins of equal mass")[1] == "0.0300 (expected if calibrated: 0.0100 to 0.0500)"
    assert _row(page, r"fpr\_1 (0.6125)")[-2:] == ["0.0340", "0.10% to 2.30%"]
    assert _row(page, r"max\_f1 (0.6125)")[-1] == r"\-"
    assert _row(page, "homoglyphs") == [
        "homoglyphs",
        "300",
        "0.9000",
        r"\+0.0300",
        "0.7000",
        "0.0400",
        "5.50%",
    ]
    assert _row(page, "numpy") == ["numpy", "2.4"]
    assert "temperature 1.3000" in page


def test_thresholds_are_told_with_the_range_of_the_fpr_and_what_it_rests_on() -> None:
    promise = FprRange(target=0.05, num_human=99, order=95, expected=0.05, low=0.0165, high=0.101)
    told = calibration().thresholds
    more = (*told.thresholds, Threshold(name="fpr_5", value=0.75, fpr_range=promise))
    card = _card()
    changed = card.calibration.model_copy(
        update={
            "thresholds": told.model_copy(update={"thresholds": more, "band": None, "why_no_band": "few"})
        }
    )
    page = page_of(card.model_copy(update={"calibration": changed}))
    assert _row(page, r"fpr\_5") == [r"fpr\_5", "0.7500", "5.00% (1.65% to 10.10%)", "99", ""]
    assert _row(page, r"max\_f1")[-1] == "used unless another is named"
    assert _row(page, r"fpr\_1")[1:] == [r"\-", r"\-", r"\-", "1 % needs 99 human texts."]
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
    page = page_of(_card(evaluation=_evaluation(comparison=found)))
    assert words in page
    assert ("(paired bootstrap: -0.0500 to -0.0100); a regression." in page) is regression


@pytest.mark.parametrize(("passed", "word"), [(True, "taken"), (False, "rejected")])
def test_the_gate_of_int8_is_told(*, passed: bool, word: str) -> None:
    export = _full().export
    assert export is not None
    assert export.quantization is not None
    gate = export.quantization.model_copy(update={"passed": passed})
    page = page_of(_card(export=_export(gate)))
    assert (
        f"int8 was {word} on 2,000 validation texts: AUROC falls by 0.03; 330 bytes instead of 1,000" in page
    )
    assert "int8" not in page_of(_card(export=_export(None))).split("## Export")[1]


def test_sections_without_rows_are_left_out() -> None:
    empty = _data().model_copy(update={"domains": {}, "generators": {}, "audit": ()})
    bare = _evaluation().model_copy(update={"slices": (), "robustness": ()})
    page = page_of(_card(data=empty, evaluation=bare))
    assert "trivial feature" not in page
    assert "| domain |" not in page
    assert "### " not in page


def test_folders_of_the_disk_do_not_travel_with_the_card() -> None:
    files = [
        SourceFile(path=path, num_bytes=1, sha256="c" * 64, num_rows=9, columns=(), labels=())
        for path in ("/home/someone/a", "/home/someone/a/b.csv", "set/c.csv")
    ]
    told: dict[str, object] = {
        "files": tuple(files),
        "group_evidence": "without: /home/someone/a/b.csv and set/c.csv",
        "warnings": ("/home/someone/a: odd",),
    }
    data = _data().model_copy(update=told)
    card = _card(data=data)
    assert "someone" not in card.model_dump_json()
    assert "someone" not in page_of(card)
    assert card.data is not None
    assert [file.path for file in card.data.files] == ["a", "b.csv", "set/c.csv"]
    assert card.data.group_evidence == "without: b.csv and set/c.csv"
    assert card.data.warnings == ("a: odd",)


def test_verdicts_by_length_are_told_as_predictions_make_them() -> None:
    by_length: dict[str, object] = {
        "by_length": _decisions("max_f1", kept=None).model_copy(update={"f1": Figure(value=0.777)})
    }
    told = page_of(_card(evaluation=_evaluation().model_copy(update=by_length)))
    assert "0.7770" in _row(told, "max\\_f1 (by length)")[1]
    assert "by length)" not in page_of(_card(evaluation=_evaluation()))


def test_names_from_the_data_can_add_no_line_link_tag_or_field() -> None:
    page = page_of(_card(name=NASTY, data=_data(), evaluation=_evaluation()))
    head = _head(page)
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


def test_the_card_of_the_json_file_has_no_field_that_the_page_invents() -> None:
    data = json.loads(_full().model_dump_json())
    assert data["evaluation"]["ranking"]["roc_auc"]["value"] == 0.9312345
