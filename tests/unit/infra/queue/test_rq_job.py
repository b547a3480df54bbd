import zlib

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq.exceptions import NoSuchJobError
from rq.serializers import JSONSerializer

from model_trainer.core.contracts.base import JsonObject, dump_json, parse_json_object
from model_trainer.core.contracts.jobs import TrainModel
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.queue.quarantine import KEPT_SECONDS, MOST_ENTRIES, QUARANTINE, quarantine
from model_trainer.infra.queue.rq_job import OrderJob, order_job_class, rq_job_id
from tests.contract.run_stores import QUEUE, RQ_SETTINGS

JOB_ID = rq_job_id("01ARZ3NDEKTSV4RRFFQ69G5FAV", epoch=1)
ORDER = TrainModel(run_id="01ARZ3NDEKTSV4RRFFQ69G5FAV", epoch=1).model_dump_json()
CALL = dump_json(["run_job", None, [ORDER], {}])


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def job(seen: list[str], redis_url: str) -> OrderJob:
    return order_job_class(seen.append, queue=QUEUE, settings=RQ_SETTINGS)(
        JOB_ID, redis.Redis.from_url(redis_url, protocol=2), JSONSerializer()
    )


def entry(call: str = CALL, **fields: bytes) -> dict[bytes, bytes]:
    return {b"data": zlib.compress(call.encode()), **{name.encode(): value for name, value in fields.items()}}


def test_an_entry_of_ours_runs_the_one_function(job: OrderJob, seen: list[str]) -> None:
    job.restore(entry())
    assert (job.func_name, job.args) == ("run_job", [ORDER])
    job.func(*job.args)
    assert seen == [ORDER]


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
        {"call": CALL.replace("train_model", "os.system")},
        {"call": CALL.replace("5FAV", "5FAW")},
        {"call": CALL.replace('epoch\\":1', 'epoch\\":2')},
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


def _quarantined(client: RedisClient) -> list[JsonObject]:
    reply = client.call("LRANGE", QUARANTINE, 0, -1)
    assert isinstance(reply, list)
    return [parse_json_object(text) for text in reply]


def test_a_refused_entry_is_kept_for_a_person_to_look_at(job: OrderJob, client: RedisClient) -> None:
    client.call("HSET", f"rq:job:{JOB_ID}", "data", "poison")
    with pytest.raises(NoSuchJobError):
        job.refresh()
    (note,) = _quarantined(client)
    assert (note["queue"], note["entry"], note["why"]) == (QUEUE, JOB_ID, "error")
    assert str(note["at"]).endswith("+00:00")
    ttl = client.call("TTL", f"rq:job:{JOB_ID}")
    assert isinstance(ttl, int)
    assert 0 < ttl <= KEPT_SECONDS


def test_a_key_of_another_kind_is_kept_too(job: OrderJob, client: RedisClient) -> None:
    client.call("SET", f"rq:job:{JOB_ID}", "a string")
    with pytest.raises(NoSuchJobError):
        job.refresh()
    assert [note["why"] for note in _quarantined(client)] == ["not a hash"]


def test_an_entry_that_has_gone_is_nothing_to_look_at(job: OrderJob, client: RedisClient) -> None:
    with pytest.raises(NoSuchJobError):
        job.refresh()
    assert _quarantined(client) == []


def test_an_entry_of_ours_is_read_from_redis(job: OrderJob, client: RedisClient) -> None:
    client.call("HSET", f"rq:job:{JOB_ID}", "data", zlib.compress(CALL.encode()))
    job.refresh()
    assert job.args == [ORDER]
    assert _quarantined(client) == []


def test_quarantine_keeps_the_newest_thousand_and_short_names(client: RedisClient) -> None:
    for number in range(MOST_ENTRIES + 2):
        quarantine(client.connection, queue=QUEUE, entry=f"{number}-".encode() + b"\xff" * 500, why="x")
    notes = _quarantined(client)
    assert len(notes) == MOST_ENTRIES
    assert str(notes[0]["entry"]).startswith(f"{MOST_ENTRIES + 1}-")
    assert len(str(notes[0]["entry"])) == 200


def test_without_redis_nothing_is_refused_and_nothing_is_kept(job: OrderJob) -> None:
    job.connection = redis.Redis(unix_socket_path="/nowhere/redis.sock", retry=Retry(NoBackoff(), 0))
    with pytest.raises(AppError) as caught:
        job.refresh()
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    with pytest.raises(NoSuchJobError):
        job.restore({})
