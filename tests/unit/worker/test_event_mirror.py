from pathlib import Path

import pytest

from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.run import HandBack
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.worker.event_mirror import EventMirror
from tests.unit.worker.bench import Bench


def _seqs(path: Path) -> list[int]:
    return [StoredEvent.model_validate_json(line).seq for line in path.read_text().splitlines()]


def test_the_file_follows_the_stream_without_gaps(bench: Bench, tmp_path: Path) -> None:
    lease = bench.claimed()
    path = tmp_path / "events.jsonl"
    mirror = EventMirror(path)
    mirror.catch_up(bench.store, lease.run_id)
    assert _seqs(path) == [1, 2]
    bench.store.release(lease, HandBack(message="back"))
    mirror.catch_up(bench.store, lease.run_id)
    assert _seqs(path) == [1, 2, 3]


def test_a_new_mirror_goes_on_where_the_file_ends(bench: Bench, tmp_path: Path) -> None:
    lease = bench.claimed()
    path = tmp_path / "events.jsonl"
    EventMirror(path).catch_up(bench.store, lease.run_id)
    EventMirror(path).catch_up(bench.store, lease.run_id)
    assert _seqs(path) == [1, 2]


def test_a_torn_last_line_is_written_again(bench: Bench, tmp_path: Path) -> None:
    lease = bench.claimed()
    path = tmp_path / "events.jsonl"
    EventMirror(path).catch_up(bench.store, lease.run_id)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    EventMirror(path).catch_up(bench.store, lease.run_id)
    assert path.read_bytes() == whole


def test_an_empty_file_is_filled(bench: Bench, tmp_path: Path) -> None:
    lease = bench.claimed()
    path = tmp_path / "events.jsonl"
    path.touch()
    EventMirror(path).catch_up(bench.store, lease.run_id)
    assert _seqs(path) == [1, 2]


def test_a_store_that_is_away_is_tried_again_next_time(bench: Bench, tmp_path: Path) -> None:
    class Away:
        def events_after(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")

    lease = bench.claimed()
    path = tmp_path / "events.jsonl"
    mirror = EventMirror(path)
    mirror.catch_up(Away(), lease.run_id)
    assert not path.exists()
    mirror.catch_up(bench.store, lease.run_id)
    assert _seqs(path) == [1, 2]


@pytest.mark.parametrize("damage", [b"\x00" * 40 + b"\n", b'{"seq": 9}\n', b'{"type":\n'])
def test_damage_is_cut_off_and_written_again(bench: Bench, tmp_path: Path, damage: bytes) -> None:
    lease = bench.claimed()
    path = tmp_path / "events.jsonl"
    EventMirror(path).catch_up(bench.store, lease.run_id)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage)
    EventMirror(path).catch_up(bench.store, lease.run_id)
    assert path.read_bytes() == first + second


def test_a_line_out_of_turn_is_damage(bench: Bench, tmp_path: Path) -> None:
    lease = bench.claimed()
    path = tmp_path / "events.jsonl"
    EventMirror(path).catch_up(bench.store, lease.run_id)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + first + second)
    EventMirror(path).catch_up(bench.store, lease.run_id)
    assert path.read_bytes() == first + second


def test_a_disk_that_takes_nothing_is_tried_again_next_time(bench: Bench, tmp_path: Path) -> None:
    lease = bench.claimed()
    path = tmp_path / "missing" / "events.jsonl"
    mirror = EventMirror(path)
    mirror.catch_up(bench.store, lease.run_id)
    path.parent.mkdir()
    mirror.catch_up(bench.store, lease.run_id)
    assert _seqs(path) == [1, 2]
