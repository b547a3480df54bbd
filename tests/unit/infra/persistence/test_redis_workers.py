from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_workers import RedisWorkerRegistry


def test_the_words_of_a_worker_of_another_version_are_passed_over(client: RedisClient) -> None:
    client.call("SADD", "workers", "later")
    client.call("SET", "workers:later", '{"worker_id":"later","telepathy":true}')
    assert RedisWorkerRegistry(client).alive() == ()


def test_names_of_workers_that_are_gone_are_forgotten(client: RedisClient) -> None:
    client.call("SADD", "workers", "gone")
    assert RedisWorkerRegistry(client).alive() == ()
    assert client.call("SCARD", "workers") == 0
