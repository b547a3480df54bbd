"""A Redis and a queue whose replies are lost on the way."""

from collections.abc import Callable

import redis

from model_trainer.core.contracts.jobs import AnyJob
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.queue.rq_queue import RqJobQueue


class ForgetfulRedis(redis.Redis):
    """Carries a script out, then loses the reply as often as there are losses."""

    losses: list[Exception]
    refusals: list[Exception]
    """Of scripts that are not carried out at all."""

    def execute_command(self, *args: object, **options: object) -> object:
        if args[0] == "EVALSHA" and self.refusals:
            raise self.refusals.pop()
        execute: Callable[..., object] = super().execute_command
        reply = execute(*args, **options)
        if args[0] == "EVALSHA" and self.losses:
            raise self.losses.pop()
        return reply


class ForgetfulQueue(RqJobQueue):
    """Cannot be reached at the first order."""

    is_away = True

    def enqueue(self, job: AnyJob, *, queue: str) -> None:
        if self.is_away:
            self.is_away = False
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")
        super().enqueue(job, queue=queue)
