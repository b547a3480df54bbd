"""Orders through RQ. RQ wakes a worker up and no more: what it thinks of a job is never read."""

from rq import Queue

from model_trainer.core.config.settings import RqSettings
from model_trainer.core.contracts.jobs import AnyJob
from model_trainer.infra.persistence.redis_client import RedisClient, Transaction, number
from model_trainer.infra.persistence.redis_errors import translated_errors
from model_trainer.infra.queue.rq_job import FUNCTION, rq_job_id


class RqJobQueue:
    """One RQ list for each queue name. Payloads are JSON; no retries, callbacks or schedules of RQ's."""

    def __init__(self, client: RedisClient, settings: RqSettings) -> None:
        self._client = client
        self._settings = settings

    def enqueue(self, job: AnyJob, *, queue: str) -> None:
        """See JobQueue."""
        with self._client.transaction() as transaction:
            transaction.begin()
            self.stage(job, queue=queue, transaction=transaction)
            transaction.commit()

    def stage(self, job: AnyJob, *, queue: str, transaction: Transaction) -> None:
        """Adds the writes that put an order in to a transaction after its begin()."""
        payload: list[str] = [job.model_dump_json()]
        with translated_errors():
            rq_queue = Queue(queue, connection=self._client.connection, serializer="json")
            rq_queue.enqueue_call(
                FUNCTION,
                args=payload,
                job_id=rq_job_id(job.run_id, epoch=job.epoch),
                description=f"{job.job} {job.run_id}",
                timeout=self._settings.job_timeout_seconds,
                result_ttl=self._settings.result_ttl_seconds,
                failure_ttl=self._settings.failure_ttl_seconds,
                pipeline=transaction.pipeline,
            )

    def remove(self, run_id: str, *, epoch: int, queue: str) -> None:
        """Takes an order out, if it still waits."""
        job_id = rq_job_id(run_id, epoch=epoch)
        self._client.many([("LREM", _list(queue), 0, job_id), ("DEL", f"rq:job:{job_id}")])

    def holds(self, run_id: str, *, epoch: int, queue: str) -> bool:
        """See JobQueue."""
        return self._client.call("LPOS", _list(queue), rq_job_id(run_id, epoch=epoch)) is not None

    def depth(self, queue: str) -> int:
        """See JobQueue."""
        return number.validate_python(self._client.call("LLEN", _list(queue)))


def _list(queue: str) -> str:
    return f"rq:queue:{queue}"
