"""`model-trainer train`, `pipeline` and the commands behind them work in this process, on files, without a server."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model_trainer.cli.detecting import evidence, run_training
from model_trainer.cli.detector_files import SHOWN
from model_trainer.cli.detector_tables import figure
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.data_report import DataReport, ShortcutFinding
from model_trainer.core.contracts.detector_evaluation import Figure, Interval
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.cli.bench import Bench
from tests.unit.cli.labelled import TINY, write_labelled
from tests.unit.cli.wishing import body, wishes


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The --output-dir of one whole pipeline."""
    home = tmp_path_factory.mktemp("pipeline")
    data = write_labelled(home / "labelled.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        output = home / "out"
        status = Bench().run("pipeline", "--data-path", str(data), "--output-dir", str(output), *TINY)
    assert status == 0
    return output


def test_a_pipeline_shows_every_file_of_the_artifact(shown: Path) -> None:
    assert {path.name for path in shown.iterdir()} == set(SHOWN)
    assert {path.name for path in (shown / "runtime_bundle").iterdir()} == {
        "model.onnx",
        "model",
        "calibration.json",
        "thresholds.json",
        "reading.json",
        "manifest.json",
    }
    (artifact,) = (shown.parent / "artifacts" / "models").iterdir()
    for path in shown.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (artifact / path.relative_to(shown)).read_bytes()


def test_the_stages_done_again_by_hand_leave_what_the_pipeline_left(
    bench: Bench, shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    assert (
        bench.run(
            "calibrate",
            *("--val-logits", str(shown / "val_logits.npz")),
            *("--training-config", str(shown / "training_config.json")),
            *("--output", str(again / "calibration.json")),
        )
        == 0
    )
    assert (again / "calibration.json").read_bytes() == (shown / "calibration.json").read_bytes()
    assert (again / "thresholds.json").read_bytes() == (shown / "thresholds.json").read_bytes()
    assert "Temperature" in capsys.readouterr().out

    assert (
        bench.run(
            *("evaluate", "--artifact-dir", str(shown), "--output", str(again / "eval_metrics.json")),
            *("--set", "bootstrap_samples=20", "--json"),
        )
        == 0
    )
    ours = json.loads((again / "eval_metrics.json").read_text())
    theirs = json.loads((shown / "eval_metrics.json").read_text())
    assert ours.pop("evaluation_id") != theirs.pop("evaluation_id")
    assert ours == theirs
    assert (again / "plots" / "roc.png").exists()
    assert json.loads(capsys.readouterr().out)["ranking"] == theirs["ranking"]

    assert (
        bench.run(
            *("export-onnx", "--artifact-dir", str(shown), "--output", str(again / "model.onnx")),
            *("--bundle-dir", str(again / "bundle"), "--quantize"),
        )
        == 0
    )
    assert (again / "model.onnx").read_bytes() == (shown / "model.onnx").read_bytes()
    assert "int8" in capsys.readouterr().out
    assert (again / "bundle" / "manifest.json").exists()

    assert (
        bench.run(
            *("model-card", "--artifact-dir", str(shown), "--output", str(again / "model_card.json")),
        )
        == 0
    )
    card = json.loads((again / "model_card.json").read_text())
    assert card["evaluation"]["ranking"] == theirs["ranking"]
    assert card["data"] is not None
    assert (again / "README.md").read_text().startswith("---\n")


def test_a_card_says_so_when_nothing_was_measured(bench: Bench, shown: Path, tmp_path: Path) -> None:
    options = ("--training-config", str(shown / "training_config.json"))
    calibration = ("--calibration", str(shown / "calibration.json"))
    card = tmp_path / "model_card.json"
    assert bench.run("model-card", *options, *calibration, "--output", str(card)) == 0
    found = json.loads(card.read_text())
    assert (found["evaluation"], found["data"], found["export"]) == (None, None, None)


def test_int8_wants_the_very_texts_of_the_training(
    bench: Bench, shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_labelled(tmp_path / "other.jsonl", pairs=30)
    options = ("--artifact-dir", str(shown), "--output", str(tmp_path / "m.onnx"))
    bundle = ("--bundle-dir", str(tmp_path / "bundle"))
    assert bench.run("export-onnx", *options, *bundle, "--quantize", "--data-path", str(other)) == 1
    assert "DATA_CHANGED" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    assert bench.run("export-onnx", *options, *bundle) == 0


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_texts_of_files_are_judged_in_batches(
    bench: Bench, shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    folder = tmp_path / "texts"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "one.txt").write_text("delve into a comprehensive tapestry, furthermore")
    write_labelled(folder / "two.jsonl", pairs=3)
    output = tmp_path / "made" / f"judged.{suffix}"
    status = bench.run(
        *("predict", "--bundle-dir", str(shown / "runtime_bundle"), "--data-path", str(folder)),
        *("--output", str(output), "--batch-size", "4", "--decision", "half"),
    )
    assert status == 0
    assert "7 texts judged" in capsys.readouterr().err
    if suffix == "csv":
        with output.open() as file:
            rows: list[dict[str, str]] = list(csv.DictReader(file))
        assert [row["row"] for row in rows] == ["1", "1", "2", "3", "4", "5", "6"]
        assert {row["threshold_name"] for row in rows} == {"half"}
        assert "short" in rows[0]["warnings"] or "words" in rows[0]["warnings"]
    else:
        lines = [json.loads(line) for line in output.read_text().splitlines()]
        assert [line["file"] for line in lines] == [
            str(folder / "inner" / "one.txt"),
            *[str(folder / "two.jsonl")] * 6,
        ]
        assert all(line["windows"] for line in lines)


def test_one_file_is_judged_onto_standard_output(
    bench: Bench, shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_labelled(tmp_path / "two.jsonl", pairs=1)
    bundle = ("--bundle-dir", str(shown / "runtime_bundle"))
    assert bench.run("predict", *bundle, "--data-path", str(data), "--text-col", "text") == 0
    judged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["verdict"] in ("human", "ai") for line in judged] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--data-path"),
        (("--data-path", "missing.csv"), "missing.csv is not there"),
        (("--data-path", "notes.txt", "--output", "x.xlsx"), ".csv or .jsonl"),
        (("--data-path", "broken.txt"), "not UTF-8"),
        (("--data-path", "number.jsonl", "--text-col", "text"), "number.jsonl, row 2, column 'text'"),
    ],
)
def test_what_cannot_be_judged_is_named_and_leaves_nothing(
    bench: Bench,
    shown: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    Path("notes.txt").write_text("a text")
    Path("broken.txt").write_bytes(b"\xff\xfe\xff")
    Path("number.jsonl").write_text('{"text": "a text"}\n{"text": 3}\n')
    before = set(Path.cwd().iterdir())
    output = () if "--output" in arguments else ("--output", "judged.csv")
    status = bench.run("predict", "--bundle-dir", str(shown / "runtime_bundle"), *arguments, *output)
    assert status == 1
    assert said in capsys.readouterr().err
    assert set(Path.cwd().iterdir()) == before


def test_training_alone_ends_with_its_logits(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_labelled(tmp_path / "labelled.jsonl")
    output = tmp_path / "out"
    assert bench.run("train", "--data-path", str(data), "--output-dir", str(output), *TINY, "--json") == 0
    assert {path.name for path in output.iterdir()} == {
        "data_report.json",
        "training_config.json",
        "model",
        "val_logits.npz",
        "test_logits.npz",
    }
    out, err = capsys.readouterr()
    assert "labelled.jsonl: text is column 'text' (" in err
    assert "labelled.jsonl: label 'ai' means AI (" in err
    assert "labelled.jsonl: label 'human' means human (" in err
    record = json.loads(out.splitlines()[-1])
    assert record["status"] == "completed"
    assert record["spec"]["finish"] is False
    # A second training into the same folder takes the place of the first; without a folder none is touched.
    (output / "model_card.json").write_text("of another training")
    assert bench.run("train", "--data-path", str(data), "--output-dir", str(output), *TINY) == 0
    assert not (output / "model_card.json").exists()
    assert bench.run("train", "--data-path", str(data), *TINY) == 0


def test_a_folder_of_somebody_elses_is_left_alone(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine"
    (output / "model").mkdir(parents=True)
    (output / "model" / "precious.bin").write_bytes(b"mine")
    data = write_labelled(tmp_path / "labelled.jsonl")
    assert bench.run("pipeline", "--data-path", str(data), "--output-dir", str(output), *TINY) == 1
    assert "model that no training put there" in capsys.readouterr().err
    assert (output / "model" / "precious.bin").read_bytes() == b"mine"
    assert not Path("artifacts").exists(), "nothing was trained"


def test_a_calibration_put_into_the_folder_reaches_the_bundle_there(
    bench: Bench, shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shown, folder)
    assert bench.run("calibrate", "--artifact-dir", str(folder), "--set", "fit_bias=true") == 0
    inside = json.loads((folder / "runtime_bundle" / "calibration.json").read_text())
    assert inside == json.loads((folder / "calibration.json").read_text())
    assert inside["asked"]["fit_bias"] is True
    assert "export-onnx" not in capsys.readouterr().err
    elsewhere = ("--output", str(tmp_path / "calibration.json"))
    assert bench.run("calibrate", "--artifact-dir", str(folder), *elsewhere) == 0
    assert "make it with `export-onnx`" in capsys.readouterr().err


def test_the_logits_a_calibration_was_fitted_on_are_called_validation(
    bench: Bench, shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--test-logits", str(shown / "val_logits.npz"), "--output", str(tmp_path / "m.json"))
    settings = ("--set", "bootstrap_samples=0", "--json")
    assert bench.run("evaluate", "--artifact-dir", str(shown), *options, *settings) == 0
    assert json.loads(capsys.readouterr().out)["split"] == "validation"


def test_a_training_that_fails_says_why(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "one_class.jsonl"
    data.write_text('{"text": "only people wrote this", "label": "human"}\n' * 3)
    assert bench.run("pipeline", "--data-path", str(data), "--output-dir", "out", *TINY) == 1
    assert "/data_paths" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_figure_without_an_interval_stands_alone() -> None:
    assert figure(Figure(value=0.5, interval=None)) == "0.500"
    assert figure(Figure(value=0.5, interval=Interval(low=0.25, high=0.75))) == "0.500 [0.250, 0.750]"


def test_int8_belongs_to_what_exports(bench: Bench) -> None:
    with pytest.raises(AppError, match="pipeline"):
        run_training(bench.session(), wishes(quantize=True), output_dir=None, resume=None, finish=False)


def test_what_goes_on_goes_on_as_it_was_ordered(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"
    assert bench.run("train", "--resume", run_id, "--epochs", "3") == 1
    assert "--resume: the training goes on as it was ordered" in capsys.readouterr().err
    assert bench.run("train", "--resume", run_id) == 1
    assert "RUN_NOT_FOUND" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("calibrate", "--output", "c.json"),
        ("evaluate", "--artifact-dir", "nowhere"),
        ("export-onnx", "--training-config", "missing.json"),
        ("model-card",),
    ],
)
def test_a_stage_without_its_files_says_which_option_names_them(
    bench: Bench, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert bench.run(*command) == 1
    assert "--training-config: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "command", "said"),
    [
        ("calibration.json", ("evaluate",), "no Calibration of this version"),
        (None, ("calibrate", "--set", "fit_bias=perhaps"), "/fit_bias"),
        (None, ("model-card", "--metrics", "missing.json"), "--metrics: missing.json is not there"),
    ],
)
def test_files_and_fields_that_do_not_fit_are_refused(
    bench: Bench,
    shown: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: str | None,
    command: tuple[str, ...],
    said: str,
) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("training_config.json", "calibration.json", "test_logits.npz", "val_logits.npz"):
        (folder / name).write_bytes((shown / name).read_bytes())
    if spoil is not None:
        (folder / spoil).write_text("{}")
    assert bench.run(*command, "--artifact-dir", str(folder)) == 1
    assert said in capsys.readouterr().err


def test_a_result_needs_a_place(bench: Bench, shown: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--training-config", str(shown / "training_config.json"))
    assert bench.run("calibrate", *options, "--val-logits", str(shown / "val_logits.npz")) == 1
    assert "--output" in capsys.readouterr().err


def _with_other_family(change: Callable[[JsonObject], None], source: Path, target: Path) -> None:
    config: JsonObject = json.loads(source.read_text())
    change(config)
    target.write_text(json.dumps(config))


def test_a_config_of_a_language_model_is_no_detectors(
    bench: Bench, shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "training_config.json"
    _with_other_family(
        lambda found: found.update(model_family="gpt2"), shown / "training_config.json", config
    )
    options = ("--artifact-dir", str(shown), "--training-config", str(config))
    places = ("--output", str(tmp_path / "m.onnx"), "--bundle-dir", str(tmp_path / "b"))
    assert bench.run("export-onnx", *options, *places) == 1
    assert "gpt2 is no family of detectors" in capsys.readouterr().err
    language_model: JsonObject = {
        "model_family": "gpt2",
        "corpus_path": "text",
        "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB",
    }
    _with_other_family(
        lambda found: found.update(spec=language_model), shown / "training_config.json", config
    )
    assert bench.run("export-onnx", *options, *places, "--quantize") == 1
    assert "--training-config is not of a detector" in capsys.readouterr().err


def test_an_error_has_the_code_of_what_went_wrong() -> None:
    with pytest.raises(AppError) as caught:
        body(wishes(tpu_bf16=True))
    assert caught.value.code is ErrorCode.DEVICE_UNAVAILABLE


def test_shortcuts_and_oddities_of_the_data_are_told(shown: Path) -> None:
    report = DataReport.model_validate_json((shown / "data_report.json").read_bytes())
    finding = ShortcutFinding(
        feature="newlines",
        roc_auc=0.94,
        direction="higher_is_ai",
        is_shortcut=True,
        message="newlines alone reach 0.94",
    )
    harmless = finding.model_copy(update={"is_shortcut": False, "message": "nothing to say"})
    told = report.model_copy(update={"audit": (finding, harmless), "warnings": ("Few rows.",)})
    lines = evidence(told)
    assert lines[-2:] == ["warning: shortcut: newlines alone reach 0.94", "warning: Few rows."]
    assert not any("nothing to say" in line for line in lines)
