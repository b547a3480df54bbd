from pathlib import Path

from model_trainer.core.contracts.base import parse_json_object
from model_trainer.worker.series import RunSeries


def _steps(path: Path) -> list[object]:
    return [parse_json_object(line)["step"] for line in path.read_text().splitlines()]


def _fill(folder: Path, steps: range) -> RunSeries:
    with RunSeries(folder) as series:
        for step in steps:
            series.append(step=step, metrics={"loss": 1.0 / step}, timings={"step_seconds": 0.5})
    return series


def test_metrics_and_timings_go_to_files_of_their_own(tmp_path: Path) -> None:
    _fill(tmp_path, range(1, 3))
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step":1,"loss":1.0}\n{"step":2,"loss":0.5}\n'
    assert _steps(tmp_path / "timings.jsonl") == [1, 2]
    assert "loss" not in (tmp_path / "timings.jsonl").read_text()


def test_rewinding_drops_the_rows_that_will_be_written_again(tmp_path: Path) -> None:
    series = _fill(tmp_path, range(1, 6))
    series.rewind(3)
    assert _steps(tmp_path / "metrics.jsonl") == [1, 2, 3]
    assert _steps(tmp_path / "timings.jsonl") == [1, 2, 3]


def test_rewinding_drops_a_torn_last_line(tmp_path: Path) -> None:
    series = _fill(tmp_path, range(1, 3))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step":2,"lo')
    series.rewind(9)
    assert _steps(tmp_path / "metrics.jsonl") == [1, 2]


def test_rewinding_a_run_without_rows_makes_no_file(tmp_path: Path) -> None:
    RunSeries(tmp_path).rewind(0)
    assert list(tmp_path.iterdir()) == []


def test_rewinding_cuts_at_a_line_that_a_power_cut_damaged(tmp_path: Path) -> None:
    series = _fill(tmp_path, range(1, 3))
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"\0" * 40 + b'\n{"step":4,"loss":1.0}\n')
    series.rewind(9)
    assert _steps(tmp_path / "metrics.jsonl") == [1, 2]


def test_a_step_has_one_row_though_it_is_told_by_two_owners(tmp_path: Path) -> None:
    """The first was killed after a row that its checkpoint does not know of: its evaluation was owed."""
    _fill(tmp_path, range(1, 4))
    with RunSeries(tmp_path) as successor:
        successor.rewind(3)
        for step in (3, 4):
            successor.append(step=step, metrics={"loss": 7.0}, timings={"step_seconds": 0.5})
    for name in ("metrics.jsonl", "timings.jsonl"):
        assert _steps(tmp_path / name) == [1, 2, 3, 4]
    assert '{"step":3,"loss":7.0}' in (tmp_path / "metrics.jsonl").read_text()


def test_rows_of_an_owner_that_was_frozen_meanwhile_do_not_reach_its_successors_files(tmp_path: Path) -> None:
    with RunSeries(tmp_path) as frozen, RunSeries(tmp_path) as successor:
        for step in (1, 2, 3):
            frozen.append(step=step, metrics={"loss": 1.0}, timings={})
        successor.rewind(2)
        successor.append(step=3, metrics={"loss": 2.0}, timings={})
        frozen.append(step=4, metrics={"loss": 1.0}, timings={})
        successor.append(step=4, metrics={"loss": 2.0}, timings={})
    assert _steps(tmp_path / "metrics.jsonl") == [1, 2, 3, 4]
    assert (tmp_path / "metrics.jsonl").read_text().endswith('{"step":4,"loss":2.0}\n')


def test_rows_after_a_rewinding_go_to_the_new_files(tmp_path: Path) -> None:
    with RunSeries(tmp_path) as series:
        for step in (1, 2, 3):
            series.append(step=step, metrics={"loss": 1.0}, timings={"step_seconds": 0.5})
        series.rewind(1)
        series.append(step=2, metrics={"loss": 1.0}, timings={"step_seconds": 0.5})
    assert _steps(tmp_path / "metrics.jsonl") == [1, 2]
    assert _steps(tmp_path / "timings.jsonl") == [1, 2]
