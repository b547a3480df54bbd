"""The reaper tells the store who is dead, counts what it rescued, and waits for a store that is away."""

from structlog.testing import capture_logs

from model_trainer.core.contracts.run import Holder
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.maintenance.asking import PatientAsker
from model_trainer.maintenance.reaper import Reaper
from model_trainer.maintenance.records import RecordKeeper
from tests.unit.worker.bench import Bench

AWAY = AppError(ErrorCode.STORE_UNAVAILABLE, "Redis does not answer.")
DEFECT = AppError(ErrorCode.INTERNAL, "a defect")
DEAD = Holder(run_id="R1", epoch=3, owner="w", host="h")


class Store:
    """Answers reap() with what was prepared."""

    def __init__(self, *answers: tuple[str, ...] | AppError) -> None:
        self._answers = list(answers)
        self.told_lost: list[tuple[Holder, ...]] = []

    def reap(self, lost: tuple[Holder, ...] = ()) -> tuple[str, ...]:
        self.told_lost.append(lost)
        answer = self._answers.pop(0)
        if isinstance(answer, AppError):
            raise answer
        return answer


class Dead:
    """Finds the same holders dead each time, or cannot look."""

    def __init__(self, *found: Holder, fault: Exception | None = None) -> None:
        self._found = found
        self._fault = fault

    def __call__(self) -> tuple[Holder, ...]:
        if self._fault is not None:
            raise self._fault
        return self._found


class Kept:
    """Remembers whose records were to be kept."""

    def __init__(self) -> None:
        self.run_ids: list[str] = []

    def __call__(self, *run_ids: str) -> None:
        self.run_ids += run_ids


def reaper(store: Store, *, dead: Dead | None = None, keep: Kept | None = None) -> Reaper:
    return Reaper(store, find_lost=dead or Dead(), keep=keep or Kept(), asker=PatientAsker())


def test_rescued_runs_are_counted_logged_and_kept() -> None:
    keep = Kept()
    with capture_logs() as lines:
        assert reaper(Store(("R1", "R2")), keep=keep).reap() == 2

    (line,) = lines
    assert line["event"] == "stale_runs_rescued"
    assert line["num_rescued"] == 2
    assert line["detail"] == "R1 R2"
    assert keep.run_ids == ["R1", "R2"]


def test_holders_that_are_dead_are_named_to_the_store() -> None:
    store = Store(())
    reaper(store, dead=Dead(DEAD)).reap()
    assert store.told_lost == [(DEAD,)]


def test_without_a_look_at_the_locks_the_leases_are_looked_after_all_the_same() -> None:
    for fault in (OSError("no such folder"), DEFECT):
        store = Store(("R1",))
        assert reaper(store, dead=Dead(fault=fault)).reap() == 1
        assert store.told_lost == [()]


def test_nothing_lost_is_not_news() -> None:
    with capture_logs() as lines:
        assert reaper(Store(())).reap() == 0

    assert lines == []


def test_an_outage_of_the_store_is_logged_once_at_each_end() -> None:
    patient = reaper(Store(AWAY, AWAY, ("R1",), ()), dead=Dead(fault=AWAY))
    with capture_logs() as lines:
        assert [patient.reap(), patient.reap()] == [0, 0]

    assert [(line["event"], line["log_level"]) for line in lines] == [("store_unavailable", "warning")]
    with capture_logs() as lines:
        asked = PatientAsker()
        answers = [
            asked.ask(Dead(fault=fault) if fault else Dead(DEAD)) for fault in (AWAY, AWAY, None, None)
        ]

    assert answers == [None, None, (DEAD,), (DEAD,)]
    assert [line["event"] for line in lines] == ["store_unavailable", "store_available"]


def test_a_fault_of_one_look_does_not_keep_the_next_from_rescuing() -> None:
    steady = reaper(Store(DEFECT, ("R1",)))

    with capture_logs() as lines:
        assert [steady.reap(), steady.reap()] == [0, 1]

    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("maintenance_failed", "error"),
        ("stale_runs_rescued", "warning"),
    ]
    assert lines[0]["detail"] == "a defect"


def test_a_record_that_cannot_be_kept_keeps_no_other_from_disk() -> None:
    bench = Bench()
    there = bench.submitted()
    keep = RecordKeeper(runs=bench.store, artifacts=bench.parts.artifacts)
    with capture_logs() as lines:
        keep("01J00000000000000000000000", there)

    assert [(line["event"], line["run_id"]) for line in lines] == [
        ("record_not_kept", "01J00000000000000000000000")
    ]
    assert [kept.record for kept in bench.parts.artifacts.kept_records()] == [bench.store.get(there)]
