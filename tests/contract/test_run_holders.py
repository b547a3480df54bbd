"""Who holds which run, and what becomes of it when a holder is lost: what every run store promises."""

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import HandBack, Holder, RunStatus
from model_trainer.core.errors import ErrorCode
from tests.contract.run_stores import COMPLETED, StoreUnderTest


def test_the_store_knows_who_holds_which_run(store: StoreUnderTest) -> None:
    one, two = store.claim(store.submit(), host="h1"), store.claim(store.submit(), owner="b", host=None)
    store.runs.request_cancel(two.run_id)
    store.runs.finish(store.claim(store.submit()), COMPLETED)
    store.submit()
    assert set(store.runs.held()) == {
        Holder(run_id=one.run_id, epoch=1, owner="a", host="h1"),
        Holder(run_id=two.run_id, epoch=1, owner="b", host=None),
    }


def test_a_run_whose_holder_is_lost_is_queued_again_before_its_lease_runs_out(store: StoreUnderTest) -> None:
    store.claim(store.submit())
    (holder,) = store.runs.held()
    assert store.runs.reap((holder,)) == (holder.run_id,)
    record = store.runs.get(holder.run_id)
    assert (record.status, record.epoch) == (RunStatus.QUEUED, 2)
    assert record.attempts[0].problem is not None
    assert record.attempts[0].problem.code is ErrorCode.WORKER_LOST


def test_word_of_an_earlier_holder_that_is_lost_harms_no_later_one(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.claim(run_id)
    (holder,) = store.runs.held()
    store.runs.reap((holder,))
    lease = store.claim(run_id, owner="b")
    unknown = Holder(run_id=new_ulid(), epoch=1, owner="a", host=None)
    assert store.runs.reap((holder, unknown)) == ()
    assert store.runs.get(run_id).epoch == lease.epoch


def test_a_worker_that_must_go_uses_up_no_retry(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    assert store.runs.release(lease, HandBack(message="The worker stops.")).retries == 0
