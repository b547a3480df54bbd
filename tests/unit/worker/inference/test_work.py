"""A batch as the parent keeps it: what is said of a request that is closed already changes nothing."""

from model_trainer.core.contracts.inference import GivenBack, InferenceStatus, Piece
from model_trainer.core.contracts.run import Problem
from model_trainer.core.errors import ErrorCode
from model_trainer.worker.inference.frames import Apart, Refused, Told
from model_trainer.worker.inference.work import Work
from tests.unit.worker.inference.bench import ShakyInferenceStore, answer, request, settings


def test_only_the_first_word_about_a_request_counts() -> None:
    store = ShakyInferenceStore(settings(), clock=lambda: 1.0, announce=lambda _: None)
    asked = store.submit(request(), idempotency=None).record.request
    work = Work(
        store,
        store.take("w", most=1, lease_seconds=5, wait_seconds=0),
        owner="w",
        lease_seconds=5,
        clock=lambda: 0.0,
    )
    name = asked.request_id
    problem = Problem(code=ErrorCode.CONFIG_INVALID, message="No.")
    work.note([answer(name, {"n": 1})])
    work.note([Told(request_id=name, piece=Piece(sequence=0, text="x")), answer(name, {"n": 2})])
    work.note([Refused(request_id=name, problem=problem), Apart(request_ids=(name,))])
    work.give_back(GivenBack.LOST)
    record = store.get(asked.kind, asked.run_id, name)
    assert (record.status, record.result) == (InferenceStatus.COMPLETED, '{"n":1}')
    assert store.pieces_after(record, after=0, limit=9) == ()


def test_each_outage_is_waited_for_anew() -> None:
    store = ShakyInferenceStore(settings(), clock=lambda: 1.0, announce=lambda _: None)
    first, fine, last = (store.submit(request(), idempotency=None).record.request for _ in range(3))
    taken = store.take("w", most=3, lease_seconds=5, wait_seconds=0)
    work = Work(store, taken, owner="w", lease_seconds=0.6)
    store.deaf_to = (first.request_id, last.request_id)
    work.note([answer(one.request_id, {}) for one in (first, fine, last)])
    assert store.unheard == {first.request_id: 2, last.request_id: 2}
