"""Requests to models put in line, once or under a key: what every store promises, whichever means it has."""

from concurrent.futures import ThreadPoolExecutor

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import InferenceKind, InferenceStatus
from model_trainer.core.contracts.run import IdempotencyKey
from model_trainer.core.errors import ErrorCode
from tests.contract.inference_stores import RUN_ID, SETTINGS, InferenceUnderTest, key_of, new_request
from tests.contract.refusals import expect

KEY = IdempotencyKey(key="k", body_sha256="1" * 64)

REUSED = IdempotencyKey(key="k", body_sha256="2" * 64)


# ---------------------------------------------------------------- in line


def test_a_new_request_waits_with_all_that_was_said_of_it(asked: InferenceUnderTest) -> None:
    request = new_request()
    submission = asked.inference.submit(request, idempotency=None)
    record = submission.record
    assert not submission.replayed
    assert record == asked.get(request.request_id)
    assert record.request == request
    assert (record.status, record.tries, record.owner) == (InferenceStatus.QUEUED, 0, None)
    assert record.created_at_ms > 1_600_000_000_000
    assert (record.started_at_ms, record.finished_at_ms) == (None, None)
    assert (record.result, record.problem, record.timings) == (None, None, None)
    assert asked.inference.depth() == 1


def test_a_request_is_known_by_kind_run_and_id(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    for kind, run_id, asked_id in (
        (InferenceKind.SCORE, RUN_ID, request_id),
        (InferenceKind.GENERATE, new_ulid(), request_id),
        (InferenceKind.GENERATE, RUN_ID, new_ulid()),
    ):
        with expect(ErrorCode.REQUEST_NOT_FOUND):
            asked.inference.get(kind, run_id, asked_id)


def test_the_same_request_sent_twice_stands_once(asked: InferenceUnderTest) -> None:
    request = new_request()
    first = asked.inference.submit(request, idempotency=KEY)
    second = asked.inference.submit(request, idempotency=KEY)
    assert (first.replayed, second.replayed) == (False, False)
    assert second.record == first.record
    assert asked.inference.depth() == 1


def test_a_full_line_refuses_until_somebody_takes(asked: InferenceUnderTest) -> None:
    for _ in range(SETTINGS.max_waiting):
        asked.submit()
    with expect(ErrorCode.SERVICE_UNAVAILABLE) as caught:
        asked.submit()
    assert "INFERENCE__MAX_WAITING" in caught.value.message
    assert asked.inference.depth() == SETTINGS.max_waiting
    asked.take_one()
    asked.submit()
    assert asked.inference.depth() == SETTINGS.max_waiting


# ---------------------------------------------------------------- idempotency


def test_a_key_gives_back_the_first_request(asked: InferenceUnderTest) -> None:
    assert asked.inference.find_submission(KEY) is None
    first = asked.inference.submit(new_request(), idempotency=KEY)
    asked.complete("a", asked.take_one())
    second = asked.inference.submit(new_request(), idempotency=KEY)
    assert (first.replayed, second.replayed) == (False, True)
    assert second.record.request == first.record.request
    assert second.record.status is InferenceStatus.COMPLETED
    assert asked.inference.find_submission(KEY) == second
    assert asked.inference.depth() == 0


def test_a_key_with_another_body_is_refused(asked: InferenceUnderTest) -> None:
    asked.submit(idempotency=KEY)
    with expect(ErrorCode.IDEMPOTENCY_KEY_REUSED):
        asked.inference.submit(new_request(), idempotency=REUSED)
    with expect(ErrorCode.IDEMPOTENCY_KEY_REUSED):
        asked.inference.find_submission(REUSED)
    assert asked.inference.depth() == 1


def test_a_repeated_request_is_neither_too_many_nor_another_message(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    asked.submit(conversation_id=chat, idempotency=KEY)
    for _ in range(SETTINGS.max_waiting - 1):
        asked.submit()
    again = new_request(conversation_id=chat)
    assert asked.inference.submit(again, idempotency=KEY).replayed


def test_a_request_whose_answer_has_expired_is_not_done_again_by_accident(asked: InferenceUnderTest) -> None:
    asked.submit(idempotency=KEY)
    record = asked.take_one()
    asked.complete("a", record)
    asked.expire(key_of(record), SETTINGS.result_ttl_seconds + 1.0)
    assert asked.inference.find_submission(KEY) is None
    with expect(ErrorCode.REQUEST_NOT_FOUND) as caught:
        asked.inference.submit(new_request(), idempotency=KEY)
    assert "new key" in caught.value.message
    assert asked.inference.depth() == 0


def test_many_requests_with_one_key_at_once_make_one(asked: InferenceUnderTest) -> None:
    with ThreadPoolExecutor(8) as threads:
        submissions = list(
            threads.map(lambda _: asked.inference.submit(new_request(), idempotency=KEY), range(8))
        )
    assert len({submission.record.request.request_id for submission in submissions}) == 1
    assert [submission.replayed for submission in submissions].count(False) == 1
    assert asked.inference.depth() == 1
