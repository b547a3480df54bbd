""""""

import json
from pathlib import Path

import pytest
from pydantic import JsonValue

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.data_report import (
    SourceFile,
)
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.engine.export.card import make_card, write_card
from model_trainer.engine.export.card_page import page_of
from tests.unit.engine.export.cards import data_report, full_card, head_of, new_card, row_of
from tests.unit.engine.export.toys import calibration, config


def test_both_files_are_written_and_say_the_same_card(tmp_path: Path) -> None:
    write_card(full_card(), tmp_path)
    assert ModelCard.model_validate_json((tmp_path / "model_card.json").read_bytes()) == full_card()
    assert (tmp_path / "README.md").read_text() == page_of(full_card())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "model_card.json"]


def test_the_card_holds_the_choices_that_made_the_model_and_only_those_that_were_made() -> None:
    card = full_card()
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
    assert "base_model" not in head_of(page)
    assert row_of(page, "base model")[1] == "none (random weights)"


def test_the_limits_name_shortcuts_rare_sources_and_broken_promises() -> None:
    limits = full_card().limits
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
        return " ".join(new_card(trained=config().model_copy(update=told)).limits)

    chosen, branched = "chosen by their loss on validation", "began with the weights of run R0"
    assert chosen not in limits(checkpoint={"keep_best": False}, early_stopping=None)
    assert chosen in limits(checkpoint={"keep_best": True}, early_stopping=None)
    assert chosen in limits(checkpoint={"keep_best": False}, early_stopping={"patience": 3})
    assert branched in limits(branched=True)
    assert branched not in limits()


def test_what_was_not_measured_is_said_and_has_no_section() -> None:
    card = new_card()
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
    assert "model-index" not in head_of(page)
    assert head_of(page)["library_name"] == "model-trainer"
    assert "It was not exported" in page


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
    data = data_report().model_copy(update=told)
    card = new_card(data=data)
    assert "someone" not in card.model_dump_json()
    assert "someone" not in page_of(card)
    assert card.data is not None
    assert [file.path for file in card.data.files] == ["a", "b.csv", "set/c.csv"]
    assert card.data.group_evidence == "without: b.csv and set/c.csv"
    assert card.data.warnings == ("a: odd",)


def test_the_card_of_the_json_file_has_no_field_that_the_page_invents() -> None:
    data = json.loads(full_card().model_dump_json())
    assert data["evaluation"]["ranking"]["roc_auc"]["value"] == 0.9312345
