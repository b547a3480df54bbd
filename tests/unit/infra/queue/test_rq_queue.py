import zlib

from model_trainer.core.contracts.base import parse_json
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.jobs import TrainModel
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.queue.rq_queue import RqJobQueue
from tests.contract.run_stores import QUEUE, RQ_SETTINGS


def test_what_travels_is_json_without_retries_callbacks_or_meta(client: RedisClient) -> None:
    order = TrainModel(run_id=new_ulid(), epoch=4)
    RqJobQueue(client, RQ_SETTINGS).enqueue(order, queue=QUEUE)
    raw = RedisClient(client.connection.from_url(url_of(client), protocol=2))
    fields = raw.call("HGETALL", f"rq:job:{order.run_id}-4")
    raw.close()
    assert isinstance(fields, dict)
    assert parse_json(zlib.decompress(fields[b"data"])) == ["run_job", None, [order.model_dump_json()], {}]
    assert (fields[b"timeout"], fields[b"result_ttl"], fields[b"failure_ttl"]) == (b"-1", b"60", b"60")
    assert not {b"meta", b"retries_left", b"webhooks", b"dependency_id"} & fields.keys()
    assert {fields[f"{kind}_callback_name".encode()] for kind in ("success", "failure", "stopped")} == {b""}


def url_of(client: RedisClient) -> str:
    return f"unix://{client.connection.connection_pool.connection_kwargs['path']}"


def test_the_same_order_put_in_twice_waits_twice_and_is_taken_out_whole(client: RedisClient) -> None:
    queue, order = RqJobQueue(client, RQ_SETTINGS), TrainModel(run_id=new_ulid(), epoch=0)
    for _ in range(2):
        queue.enqueue(order, queue=QUEUE)
    assert queue.depth(QUEUE) == 2
    queue.remove(order.run_id, epoch=0, queue=QUEUE)
    assert queue.depth(QUEUE) == 0
    assert client.call("EXISTS", f"rq:job:{order.run_id}-0") == 0
