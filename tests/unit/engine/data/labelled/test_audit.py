"""The shortcut audit: what a trivial trait alone can tell, against scikit-learn."""

import random
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from model_trainer.core.contracts.detector import Columns
from model_trainer.core.errors import ErrorCode
from model_trainer.engine.data.labelled.audit import audit_shortcuts
from model_trainer.engine.data.labelled.prepare import LabelledPlan
from model_trainer.engine.data.labelled.scratch import RawRow, Scratch
from model_trainer.engine.data.labelled.traits import TRAITS, traits_of
from tests.unit.engine.data.labelled.given import jsonl, prepared, refused

BLOCK = LabelledPlan(seed=1, holdout_fraction=0.2, test_fraction=0.2, audit="block")


def test_traits_are_counted() -> None:
    text = "  Hé,  says\tBob: 42!\n\nÉ"

    found = dict(zip(TRAITS, traits_of(text), strict=True))

    assert found == {
        "characters": 23,
        "newlines": 2,
        "tabs": 1,
        "double_spaces": 2,
        "edge_whitespace": 2,
        "punctuation_share": 3 / 23,
        "non_ascii_share": 2 / 23,
        "digit_share": 2 / 23,
        "upper_case_share": 2 / 23,
    }


def test_an_empty_text_has_no_shares() -> None:
    assert traits_of("") == (0,) * len(TRAITS)


def spoilt(rows: int, trick: str, *, share: float = 1.0) -> list[dict[str, object]]:
    """Pairs of texts alike but for a trick that most AI texts show."""
    rng = random.Random(7)
    made: list[dict[str, object]] = []
    for index in range(rows):
        words = [rng.choice(["sun", "moon", "star", "sky", "cloud"]) for _ in range(rng.randint(20, 40))]
        made.append({"text": f"{' '.join(words)} {index:04}", "label": "human", "group": index})
        rng.shuffle(words)
        tricked = trick if rng.random() < share else ""
        made.append({"text": f"{' '.join(words)}{tricked} {index:04}", "label": "ai", "group": index})
    return made


@pytest.mark.parametrize("trait", TRAITS)
def test_areas_agree_with_scikit_learn(tmp_path: Path, trait: str) -> None:
    rng = random.Random(3)
    texts = ["".join(rng.choices("ab CD12,.\n\té ", k=rng.randint(5, 60))) for _ in range(300)]
    labels = [int(rng.random() < 0.2 + 0.6 * (len(text) > 30)) for text in texts]
    with Scratch(tmp_path, with_traits=True) as scratch:
        for text, label in zip(texts, labels, strict=True):
            scratch.add(RawRow(0, 1, text, str(label), None, None, None, "train"))
        for index in range(100):  # what is held out does not count
            scratch.add(RawRow(0, 1, f"\n\t  .{index}" * 50, "0", None, None, None, "test"))
        scratch.set_labels(after=0, labels=[("0", 0), ("1", 1)])
        scratch.leave_out_duplicates()
        finding = {found.feature: found for found in audit_shortcuts(scratch.db)}[trait]

    values = [traits_of(text)[TRAITS.index(trait)] for text in texts]
    area = roc_auc_score(labels, values)
    assert finding.roc_auc == pytest.approx(max(area, 1 - area), abs=1e-12)
    assert finding.direction == ("higher_is_ai" if area >= 0.5 else "lower_is_ai")


@pytest.mark.parametrize(
    ("trick", "feature", "direction"),
    [
        ("\n\n", "newlines", "higher_is_ai"),
        ("\t", "tabs", "higher_is_ai"),
        ("  ", "double_spaces", "higher_is_ai"),
        ("!!!", "punctuation_share", "higher_is_ai"),
        (" and so on" * 12, "words", "higher_is_ai"),
        (" and so on" * 12, "digit_share", "lower_is_ai"),
    ],
)
def test_a_shortcut_is_found_and_blocks(tmp_path: Path, trick: str, feature: str, direction: str) -> None:
    files = {"a.jsonl": jsonl(spoilt(60, trick))}

    with prepared(tmp_path, files) as ready:
        finding = {found.feature: found for found in ready.report.audit}[feature]
        assert ready.report.audit_blocks
        assert any(warning.startswith("Shortcut: ") for warning in ready.report.warnings)
    error = refused(tmp_path, files, plan=BLOCK, code=ErrorCode.CONFIG_INVALID)

    assert finding.is_shortcut
    assert finding.direction == direction
    assert finding.message in error.message
    assert error.faults[0].pointer == "/audit"
    assert "collapse_whitespace" in error.message


def test_clean_data_passes_and_the_strongest_trait_comes_first(tmp_path: Path) -> None:
    with prepared(tmp_path, {"a.jsonl": jsonl(spoilt(60, ""))}, plan=BLOCK) as ready:
        areas = [finding.roc_auc for finding in ready.report.audit]

        assert not ready.report.audit_blocks
        assert not any(finding.is_shortcut for finding in ready.report.audit)
        assert areas == sorted(areas, reverse=True)
        assert len(areas) == len(TRAITS) + 2


def test_collapsing_white_space_is_the_way_out_that_is_named(tmp_path: Path) -> None:
    files = {"a.jsonl": jsonl(spoilt(60, "\n\n"))}

    error = refused(tmp_path, files, plan=BLOCK, code=ErrorCode.CONFIG_INVALID)
    with prepared(tmp_path, files, Columns(collapse_whitespace=True), BLOCK) as ready:
        assert not ready.report.audit_blocks

    assert "newlines alone: AUROC" in error.message
    assert "collapse_whitespace takes this away" in error.message


def test_duplicates_are_a_trait(tmp_path: Path) -> None:
    rows = spoilt(60, "")
    rows += [row for row in rows if row["label"] == "ai"]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        found = {finding.feature: finding for finding in ready.report.audit}["copies"]

    assert (found.roc_auc, found.direction, found.is_shortcut) == (1.0, "higher_is_ai", True)


def test_few_documents_are_no_proof_of_a_shortcut(tmp_path: Path) -> None:
    many = spoilt(60, "\n\n", share=0.85)

    with prepared(tmp_path, {"a.jsonl": jsonl(many)}) as ready:
        newlines = {finding.feature: finding for finding in ready.report.audit}["newlines"]
    few = [{**row, "group": int(str(row["group"])) % 4} for row in many]
    with prepared(tmp_path, {"a.jsonl": jsonl(few)}) as ready:
        of_few = {finding.feature: finding for finding in ready.report.audit}["newlines"]

    assert newlines.roc_auc > 0.8
    assert newlines.is_shortcut
    assert of_few.roc_auc > 0.8
    assert not of_few.is_shortcut


def test_the_interval_is_hanley_and_mcneils(tmp_path: Path) -> None:
    # Hanley and McNeil 1982, table I: area 0.893, 51 abnormal and 58 normal cases give a standard error of 0.032.
    with Scratch(tmp_path, with_traits=True) as scratch:
        for index in range(109):
            label = int(index < 51)
            text = "x" * (1000 - index if index < 40 else 500 - 3 * (index % 40)) + str(index)
            scratch.add(RawRow(0, 1, text, str(label), None, None, None, "train"))
        scratch.set_labels(after=0, labels=[("0", 0), ("1", 1)])
        scratch.leave_out_duplicates()
        finding = {found.feature: found for found in audit_shortcuts(scratch.db)}["characters"]

    q1 = finding.roc_auc / (2 - finding.roc_auc)
    q2 = 2 * finding.roc_auc**2 / (1 + finding.roc_auc)
    area = finding.roc_auc
    error = ((area * (1 - area) + 50 * (q1 - area**2) + 57 * (q2 - area**2)) / (51 * 58)) ** 0.5
    assert f"from {area - 1.96 * error:.3f})" in finding.message
