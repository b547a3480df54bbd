"""The workshop of the integration tests over a real Redis whose calls fail now and then.

Faults meet the API's side (which asks again with the same idempotency key, as an HTTP client does), the worker's side,
and maintenance. Tests look on through a connection of their own that works.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from model_trainer.core.contracts.detector import CalibrateSpec, EvaluateDetectorSpec, ExportSpec
from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.jobs import decode_job
from model_trainer.core.contracts.run import IdempotencyKey, RunRecord, Submission
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.contracts.training import TrainSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Reached, pass_by
from model_trainer.infra.persistence.redis_client import connect
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from model_trainer.infra.queue.rq_queue import RqJobQueue
from model_trainer.maintenance.asking import PatientAsker
from model_trainer.maintenance.chores import account_closer
from model_trainer.maintenance.records import RecordKeeper
from model_trainer.orchestrators.evaluations import EvaluationOrchestrator
from model_trainer.orchestrators.follow_ups import CalibrationOrchestrator, ExportOrchestrator
from model_trainer.orchestrators.needs import Needs
from model_trainer.orchestrators.tokenizers import TokenizerOrchestrator
from model_trainer.orchestrators.training import TrainingOrchestrator
from model_trainer.worker.dispatch import dispatch
from tests.faults.attempts import next_run, take_order
from tests.faults.faulty_redis import Faults, connect_faulty
from tests.integration.watched import BeforeForward, watched
from tests.integration.workshop import Workshop

T = TypeVar("T")

SHARE = 0.05
MOST_TRIES = 100


def patiently(ask: Callable[[], T]) -> T:
    """The answer, after as many 503s as it takes."""
    for _ in range(MOST_TRIES):
        try:
            return ask()
        except AppError as error:
            if error.code is not ErrorCode.STORE_UNAVAILABLE:
                raise
    raise AssertionError("the store never answered")


@contextmanager
def only_while_the_store_is_away() -> Iterator[None]:
    """Inside, STORE_UNAVAILABLE passes unseen; any other error does not."""
    try:
        yield
    except AppError as error:
        if error.code is not ErrorCode.STORE_UNAVAILABLE:
            raise


class FaultyWorkshop(Workshop):
    """Submits as clients of the API would and carries orders out as a worker and maintenance would."""

    def __init__(
        self,
        files: Mapping[str, str | bytes] | None = None,
        *,
        redis_url: str,
        seed: int,
        share: float = SHARE,
    ) -> None:
        super().__init__(files)
        in_memory = self.container
        rq = in_memory.settings.rq.model_copy(update={"retry_backoff_seconds": 0.0, "retry_max": 20})
        settings = in_memory.settings.model_copy(update={"rq": rq})
        self.faults = Faults(seed, share=share)
        faulty = connect_faulty(redis_url, self.faults)
        runs = RedisRunStore(faulty, RqJobQueue(faulty, rq))
        self._client = connect(redis_url)
        queue = RqJobQueue(self._client, rq)
        artifacts, reached = in_memory.artifacts, in_memory.reached
        needs = Needs(references=in_memory.references, store=in_memory.store, runs=runs)
        self.container = replace(
            in_memory,
            settings=settings,
            queue=queue,
            runs=RedisRunStore(self._client, queue),
            training=_Training(
                runs=runs, artifacts=artifacts, needs=needs, queue_name=rq.queue_name, reached=reached
            ),
            tokenizers=_Tokenizers(
                runs=runs, artifacts=artifacts, needs=needs, queue_name=rq.short_queue_name, reached=reached
            ),
            evaluations=_Evaluations(
                runs=runs, artifacts=artifacts, needs=needs, queue_name=rq.short_queue_name, reached=reached
            ),
            calibrations=_Calibrations(
                runs=runs, artifacts=artifacts, needs=needs, queue_name=rq.short_queue_name, reached=reached
            ),
            exports=_Exports(
                runs=runs, artifacts=artifacts, needs=needs, queue_name=rq.short_queue_name, reached=reached
            ),
        )
        self._parts = replace(self.container.worker_parts("worker-1"), runs=runs)

    def work(
        self,
        queue: str,
        *,
        reached: Reached = pass_by,
        before_forward: BeforeForward = lambda _model, _tokens: None,
    ) -> None:
        """Takes one order from a queue and carries it out; goes on as long as only a fault of Redis broke it off."""
        registry = watched(self.container.registry, before_forward)
        self._parts = replace(self._parts, registry=registry, reached=reached)
        run_id = next_run(self._client, queue)
        while self.record(
            run_id
        ).status.is_terminal:  # an order that was put in twice: a worker passes it over
            take_order(self._client, queue, run_id=run_id)
            run_id = next_run(self._client, queue)
        while self._broken_off(self._order_of(run_id, queue)):
            self._maintain()

    def _order_of(self, run_id: str, queue: str) -> str:
        for _ in range(MOST_TRIES):
            payload = take_order(self._client, queue, run_id=run_id)
            if payload is not None:
                return payload
            self._maintain()
            time.sleep(0.01)
        raise AssertionError(f"no order waits: {self.container.runs.get(run_id)}")

    def _broken_off(self, payload: str) -> bool:
        """Carries an order out; whether the run needs another one, and only because Redis failed."""
        run_id = _run_id_of(payload)
        is_whole = False
        with only_while_the_store_is_away():
            dispatch(payload, self._parts)
            is_whole = True
        record = self.container.runs.get(run_id)
        if record.status.is_terminal:
            self._maintain()
            return False
        return not is_whole or _is_broken_off(record)

    def _maintain(self) -> None:
        """The worker is gone when this is called: whoever held a run does so no more."""
        runs = self._parts.runs
        patiently(lambda: runs.reap(runs.held()))
        keep = RecordKeeper(runs=runs, artifacts=self.container.artifacts)
        faulty = replace(self.container, runs=runs)
        while self.container.runs.unaccounted(1):
            account_closer(faulty, keep=keep, asker=PatientAsker()).close_due()


def _is_broken_off(record: RunRecord) -> bool:
    """Handed back for want of the store, or left without an end."""
    problem = record.attempts[-1].problem if record.attempts else None
    handed_back = problem is not None and problem.code is ErrorCode.STORE_UNAVAILABLE
    return record.owner is not None or handed_back


class _Training(TrainingOrchestrator):
    def start(self, spec: TrainSpec, *, request_id: str, idempotency: IdempotencyKey | None) -> Submission:
        key, start = idempotency or _new_key(), super().start
        return patiently(lambda: start(spec, request_id=request_id, idempotency=key))

    def cancel(self, run_id: str) -> RunRecord:
        cancel = super().cancel
        return patiently(lambda: cancel(run_id))


class _Tokenizers(TokenizerOrchestrator):
    def start(
        self, spec: TokenizerSpec, *, request_id: str, idempotency: IdempotencyKey | None
    ) -> Submission:
        key, start = idempotency or _new_key(), super().start
        return patiently(lambda: start(spec, request_id=request_id, idempotency=key))


class _Evaluations(EvaluationOrchestrator):
    def start(
        self,
        spec: EvaluateSpec | EvaluateDetectorSpec,
        *,
        parent: RunRecord,
        request_id: str,
        idempotency: IdempotencyKey | None,
    ) -> Submission:
        key, start = idempotency or _new_key(), super().start
        return patiently(lambda: start(spec, parent=parent, request_id=request_id, idempotency=key))


class _Calibrations(CalibrationOrchestrator):
    def start(
        self,
        spec: CalibrateSpec,
        *,
        parent: RunRecord,
        request_id: str,
        idempotency: IdempotencyKey | None,
    ) -> Submission:
        key, start = idempotency or _new_key(), super().start
        return patiently(lambda: start(spec, parent=parent, request_id=request_id, idempotency=key))


class _Exports(ExportOrchestrator):
    def start(
        self,
        spec: ExportSpec,
        *,
        parent: RunRecord,
        request_id: str,
        idempotency: IdempotencyKey | None,
    ) -> Submission:
        key, start = idempotency or _new_key(), super().start
        return patiently(lambda: start(spec, parent=parent, request_id=request_id, idempotency=key))


def _new_key() -> IdempotencyKey:
    return IdempotencyKey(key=new_ulid(), body_sha256="0" * 64)


def _run_id_of(payload: str) -> str:
    return decode_job(payload).run_id
