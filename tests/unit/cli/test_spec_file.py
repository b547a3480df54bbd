"""Files, options and --set come together in one body."""

import io
from pathlib import Path

import pytest

from model_trainer.cli.spec_file import build_spec, read_spec
from model_trainer.core.errors import AppError, ErrorCode


def test_options_win_over_the_file_and_set_wins_over_both(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("model_family: gpt2\nmax_steps: 10\noptimizer:\n  name: adamw\n  learning_rate: 1e-3\n")
    spec = build_spec(
        str(file),
        options={"max_steps": 20, "seed": None, "optimizer.learning_rate": 0.5, "user_id": "me"},
        labels=["team=blue", "note=a=b"],
        settings=["max_steps=30", "optimizer.name=muon", "early_stopping={patience: 2}"],
    )
    assert spec == {
        "model_family": "gpt2",
        "max_steps": 30,
        "optimizer": {"name": "muon", "learning_rate": 0.5},
        "user_id": "me",
        "metadata": {"team": "blue", "note": "a=b"},
        "early_stopping": {"patience": 2},
    }


def test_json_is_read_too_and_so_is_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "spec.json"
    file.write_text('{"vocab_size": 300, "special_tokens": ["<a>"]}')
    assert read_spec(str(file)) == {"vocab_size": 300, "special_tokens": ["<a>"]}
    monkeypatch.setattr("sys.stdin", io.StringIO("method: bpe\n"))
    assert read_spec("-") == {"method": "bpe"}


@pytest.mark.parametrize("content", ["[1, 2]", "just text", "a: [", "1: 2", "d: 2026-11-21", ""])
def test_a_file_that_is_no_mapping_of_json_values_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(AppError) as caught:
        read_spec(str(file))
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert str(file) in caught.value.message


def test_a_file_that_is_missing_or_binary_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    for file in (tmp_path / "none.yaml", binary):
        with pytest.raises(AppError, match="cannot be read"):
            read_spec(str(file))


@pytest.mark.parametrize("pair", ["no-equals", "=value"])
def test_pairs_need_a_key_and_a_value(pair: str) -> None:
    with pytest.raises(AppError, match="KEY=VALUE"):
        build_spec(None, options={}, labels=[], settings=[pair])


def test_a_field_cannot_be_put_below_a_value() -> None:
    with pytest.raises(AppError) as caught:
        build_spec(None, options={}, labels=[], settings=["seed=1", "seed.inner=2"])
    assert caught.value.faults[0].pointer == "/seed"
