import zlib

import pytest
import redis
from rq.exceptions import NoSuchJobError
from rq.serializers import JSONSerializer

from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.infra.queue.rq_job import OrderJob, order_job_class, rq_job_id
from tests.contract.run_stores import QUEUE, RQ_SETTINGS

JOB_ID = rq_job_id("01ARZ3NDEKTSV4RRFFQ69G5FAV", epoch=1)
CALL = '["run_job",null,["payload"],{}]'


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def job(seen: list[str]) -> OrderJob:
    return order_job_class(seen.append, queue=QUEUE, settings=RQ_SETTINGS)(
        JOB_ID, redis.Redis(), JSONSerializer()
    )


def entry(call: str = CALL, **fields: bytes) -> dict[bytes, bytes]:
    return {b"data": zlib.compress(call.encode()), **{name.encode(): value for name, value in fields.items()}}


def test_an_entry_of_ours_runs_the_one_function(job: OrderJob, seen: list[str]) -> None:
    job.restore(entry())
    assert (job.func_name, job.args) == ("run_job", ["payload"])
    job.func(*job.args)
    assert seen == ["payload"]


def test_only_the_payload_is_believed(job: OrderJob) -> None:
    job.restore(
        entry(
            origin=b"elsewhere",
            timeout=b"soon",
            status=b"no status",
            created_at=b"never",
            retries_left=b"1000",
            meta=b"cos\nsystem\n(S'id'\ntR.",
            success_callback_name=b"os.abort",
            failure_callback_name=b"os.abort",
            stopped_callback_name=b"os.abort",
            webhooks=b'[{"url":"http://169.254.169.254/"}]',
            dependency_ids=b'["x"]',
        )
    )
    assert (job.origin, job.timeout, job.result_ttl, job.failure_ttl) == (QUEUE, -1, 60, 60)
    assert (job.success_callback, job.failure_callback, job.stopped_callback) == (None, None, None)
    assert (job.meta, job.webhooks, job.retries_left) == ({}, [], None)


def refused_calls() -> list[JsonObject]:
    return [
        {"call": '["os.system",null,["id"],{}]'},
        {"call": '["run_job","instance",["payload"],{}]'},
        {"call": '["run_job",null,["payload","more"],{}]'},
        {"call": '["run_job",null,["payload"],{"x":"y"}]'},
        {"call": '["run_job",null,[["nested"]],{}]'},
        {"call": "not json"},
        {"call": dump_json(["run_job", None, ["x" * 70_000], {}])},
        {"call": "[" * 60_000},
    ]


@pytest.mark.parametrize("case", refused_calls())
def test_a_call_that_is_none_of_ours_counts_as_absent(job: OrderJob, case: JsonObject) -> None:
    with pytest.raises(NoSuchJobError):
        job.restore(entry(str(case["call"])))


@pytest.mark.parametrize("raw", [{}, {b"data": b"plain"}, {b"data": b""}, {"data": "text"}, "no hash", None])
def test_a_hash_that_is_none_of_ours_counts_as_absent(job: OrderJob, raw: object) -> None:
    with pytest.raises(NoSuchJobError):
        job.restore(raw)
