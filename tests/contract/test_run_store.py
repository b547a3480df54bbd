"""Runs submitted, listed and told of by their events: what every run store promises, whichever means it has."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_trainer.core.contracts.events import CheckpointSaved, JobQueued
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import IdempotencyKey, Phase, RunKind, RunQuery, RunStatus, RunUpdate
from model_trainer.core.errors import AppError, ErrorCode
from tests.contract.refusals import expect
from tests.contract.run_stores import COMPLETED, QUEUE, StoreUnderTest, checkpoint, events, new_run

# ---------------------------------------------------------------- submit


def test_a_submitted_run_waits_with_all_that_was_said_of_it(store: StoreUnderTest) -> None:
    run = new_run(metadata={"team": "ä"}, parent_run_id=new_ulid())
    record = store.runs.submit(run, idempotency=None).record
    assert record == store.runs.get(run.run_id)
    assert record.spec == run.spec
    assert record.metadata == {"team": "ä"}
    assert record.parent_run_id == run.parent_run_id
    assert record.request_id == "request-1"
    assert (record.status, record.phase, record.epoch) == (RunStatus.QUEUED, Phase.WAITING, 0)
    assert record.created_at_ms == record.updated_at_ms > 0
    assert (record.owner, record.started_at_ms, record.attempts) == (None, None, ())


def test_a_submitted_run_is_in_its_queue_and_says_so(store: StoreUnderTest) -> None:
    run_id = store.submit()
    assert store.queue.holds(run_id, epoch=0, queue=QUEUE)
    assert store.queue.depth(QUEUE) == 1
    assert events(store, run_id) == [
        JobQueued(job_id=run_id, user_id="ada", kind="train", family="gpt2", queue=QUEUE)
    ]


@pytest.mark.parametrize("kind", list(RunKind))
def test_runs_of_all_kinds_live_the_same_life(store: StoreUnderTest, kind: RunKind) -> None:
    run_id = store.submit(kind=kind)
    record = store.runs.finish(store.claim(run_id), COMPLETED)
    assert (record.kind, record.status) == (kind, RunStatus.COMPLETED)


def test_a_run_without_a_user_has_events_without_one(store: StoreUnderTest) -> None:
    run = new_run(user_id=None)
    store.runs.submit(run, idempotency=None)
    store.claim(run.run_id)
    assert store.runs.get(run.run_id).user_id is None
    assert [event.user_id for event in events(store, run.run_id)] == [None, None]


def test_an_idempotency_key_gives_back_the_first_run(store: StoreUnderTest) -> None:
    key = IdempotencyKey(key="k", body_sha256="b" * 64)
    first = store.runs.submit(new_run(), idempotency=key)
    second = store.runs.submit(new_run(), idempotency=key)
    assert (first.replayed, second.replayed) == (False, True)
    assert second.record == first.record
    assert store.queue.depth(QUEUE) == 1


def test_what_a_key_made_can_be_looked_up(store: StoreUnderTest) -> None:
    key = IdempotencyKey(key="k", body_sha256="1" * 64)
    assert store.runs.find_submission(key) is None
    first = store.runs.submit(new_run(), idempotency=key)
    found = store.runs.find_submission(key)
    assert found is not None
    assert found.replayed
    assert found.record == first.record
    with pytest.raises(AppError) as caught:
        store.runs.find_submission(IdempotencyKey(key="k", body_sha256="2" * 64))
    assert caught.value.code is ErrorCode.IDEMPOTENCY_KEY_REUSED


def test_an_idempotency_key_with_another_body_is_refused_and_leaves_nothing(store: StoreUnderTest) -> None:
    store.runs.submit(new_run(), idempotency=IdempotencyKey(key="k", body_sha256="1" * 64))
    other = new_run()
    with expect(ErrorCode.IDEMPOTENCY_KEY_REUSED):
        store.runs.submit(other, idempotency=IdempotencyKey(key="k", body_sha256="2" * 64))
    with expect(ErrorCode.RUN_NOT_FOUND):
        store.runs.get(other.run_id)
    assert store.queue.depth(QUEUE) == 1


def test_submitting_the_same_run_twice_makes_one(store: StoreUnderTest) -> None:
    run = new_run()
    for _ in range(2):
        assert not store.runs.submit(run, idempotency=None).replayed
    assert len(events(store, run.run_id)) == 1
    assert store.queue.depth(QUEUE) == 1


def test_twenty_submits_at_once_under_one_key_make_one_run(store: StoreUnderTest) -> None:
    key, barrier = IdempotencyKey(key="k", body_sha256="b" * 64), threading.Barrier(20)

    def submit(_: int) -> tuple[str, bool]:
        barrier.wait()
        made = store.runs.submit(new_run(), idempotency=key)
        return made.record.run_id, made.replayed

    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(submit, range(20)))
    assert len({run_id for run_id, _ in made}) == 1
    assert sorted(replayed for _, replayed in made) == [False] + [True] * 19
    assert store.queue.depth(QUEUE) == 1
    assert store.runs.status_counts()["train", "queued"] == 1


def test_an_unknown_run_is_not_found(store: StoreUnderTest) -> None:
    with expect(ErrorCode.RUN_NOT_FOUND):
        store.runs.get(new_ulid())


# ---------------------------------------------------------------- events


def test_event_numbers_have_no_gaps_and_can_be_read_from_any_place(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    for step in range(10):
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, step),) * (step % 3))
    stored = store.runs.events_after(lease.run_id, after=0, limit=100)
    assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
    assert store.runs.get(lease.run_id).last_event_seq == len(stored)
    assert store.runs.events_after(lease.run_id, after=3, limit=2) == stored[3:5]
    assert store.runs.events_after(lease.run_id, after=-5, limit=1) == stored[:1]
    assert store.runs.events_after(lease.run_id, after=len(stored), limit=5) == ()
    assert store.runs.events_after(lease.run_id, after=10**30, limit=5) == ()
    assert store.runs.events_after(new_ulid(), after=0, limit=5) == ()


def test_events_of_concurrent_writers_have_no_gaps(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())

    def beat(step: int) -> None:
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, step),))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(beat, range(40)))
    stored = store.runs.events_after(lease.run_id, after=0, limit=100)
    assert [event.seq for event in stored] == list(range(1, 43))
    steps = [stored_one.event.step for stored_one in stored if isinstance(stored_one.event, CheckpointSaved)]
    assert sorted(steps) == list(range(40))


# ---------------------------------------------------------------- lists


def test_lists_are_newest_first_and_go_on_after_a_cursor(store: StoreUnderTest) -> None:
    ids = [store.submit() for _ in range(5)]
    newest_first = sorted(ids, reverse=True)
    page = store.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=2))
    assert ([record.run_id for record in page.records], page.has_more) == (newest_first[:2], True)
    page = store.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=3, after=newest_first[1]))
    assert ([record.run_id for record in page.records], page.has_more) == (newest_first[2:], False)
    assert store.runs.list_runs(RunQuery(kind=RunKind.TOKENIZER, limit=9)).records == ()


def test_lists_can_be_narrowed(store: StoreUnderTest) -> None:
    parent = new_ulid()
    runs = [
        new_run(family="gpt2", user_id="ada", metadata={"team": "a", "note": "x:y"}),
        new_run(family="gpt2", user_id=None, metadata={"team": "b"}),
        new_run(family="char_lstm", user_id="ada", parent_run_id=parent),
    ]
    for run in runs:
        store.runs.submit(run, idempotency=None)
    store.claim(runs[1].run_id)
    first, second, third = (run.run_id for run in runs)

    def found(query: RunQuery) -> set[str]:
        return {record.run_id for record in store.runs.list_runs(query).records}

    assert found(RunQuery(kind=RunKind.TRAIN, limit=9)) == {first, second, third}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, family="gpt2")) == {first, second}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, user_id="ada")) == {first, third}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, status=RunStatus.RUNNING)) == {second}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, status=RunStatus.QUEUED)) == {first, third}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, parent_run_id=parent)) == {third}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, metadata={"team": "a", "note": "x:y"})) == {first}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, metadata={"team": "c"})) == set()
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, family="gpt2", user_id="ada")) == {first}
    assert found(RunQuery(kind=RunKind.EVALUATE, limit=9, family="gpt2")) == set()


def test_the_counts_follow_the_runs(store: StoreUnderTest) -> None:
    store.submit()
    store.submit(kind=RunKind.TOKENIZER)
    store.runs.finish(store.claim(store.submit()), COMPLETED)
    counts = store.runs.status_counts()
    assert len(counts) == len(RunKind) * len(RunStatus)
    assert {name: count for name, count in counts.items() if count} == {
        ("train", "queued"): 1,
        ("tokenizer", "queued"): 1,
        ("train", "completed"): 1,
    }


def test_a_store_that_works_answers(store: StoreUnderTest) -> None:
    store.runs.ping()
