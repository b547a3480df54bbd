import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    Conversation,
    GivenBack,
    InferenceKind,
    InferenceRecord,
    InferenceStatus,
    Piece,
)
from model_trainer.core.contracts.run import IdempotencyKey, Problem
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.inference_rules import UNANSWERED_SECONDS
from model_trainer.infra.persistence.redis_client import Argument, RedisClient, Script, connect, strings
from model_trainer.infra.persistence.redis_inference import RedisInferenceStore
from model_trainer.infra.persistence.redis_runs import IDEMPOTENCY_SECONDS
from model_trainer.infra.persistence.run_signal import INFERENCE_CHANNEL, RedisRunSignal
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from tests.contract.inference_stores import (
    LEASE_SECONDS,
    RUN_ID,
    SETTINGS,
    TIMINGS,
    InferenceUnderTest,
    memory_inference,
    new_request,
    redis_inference,
)

KEY = IdempotencyKey(key="my secret", body_sha256="1" * 64)
FAILED = Problem(code=ErrorCode.OUT_OF_MEMORY, message="Ask for less.")


class ForgetfulClient(RedisClient):
    """Does what it is told; loses the reply when asked to."""

    loses = False

    def run(self, script: Script, *, key: str, arguments: Sequence[Argument]) -> list[str]:
        reply = super().run(script, key=key, arguments=arguments)
        if self.loses:
            self.loses = False
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "The reply was lost.")
        return reply


@pytest.fixture
def forgetful(client: RedisClient) -> ForgetfulClient:
    return ForgetfulClient(client.connection)


@pytest.fixture
def asked(client: RedisClient) -> InferenceUnderTest:
    return redis_inference(client)


def lost() -> "pytest.RaisesExc[AppError]":
    return pytest.raises(AppError, check=lambda error: error.code is ErrorCode.STORE_UNAVAILABLE)


def ids(records: tuple[InferenceRecord, ...]) -> list[str]:
    return [record.request.request_id for record in records]


def seconds_left(client: RedisClient) -> dict[str, int]:
    """Of every key there is; -1 for one that stays for ever."""
    names = strings.validate_python(client.call("KEYS", "*"))
    return {name: int(str(client.call("TTL", name))) for name in names}


# ---------------------------------------------------------------- keys


def test_every_key_has_a_time_to_live(asked: InferenceUnderTest, client: RedisClient) -> None:
    chat = new_ulid()
    conversation_key = f"chat:conversation:{RUN_ID}:{chat}"
    request_id = asked.submit(conversation_id=chat, idempotency=KEY)
    key = f"chat:{RUN_ID}:{request_id}"
    left = seconds_left(client)
    assert min(left.values()) > UNANSWERED_SECONDS - 10
    assert left.keys() >= {key, f"{conversation_key}:pending", "inference:line", "inference:bell"}
    once = [name for name in left if name.startswith("idempotency:")]
    assert IDEMPOTENCY_SECONDS - 10 < left[once[0]] <= IDEMPOTENCY_SECONDS
    assert "secret" not in once[0]

    record = asked.take_one("a", lease_seconds=60)
    asked.tell("a", record, "piece")
    left = seconds_left(client)
    assert left.keys() >= {key, f"{key}:pieces", "inference:leases"}
    assert left.pop("inference:call:a") <= 60
    assert min(left.values()) > UNANSWERED_SECONDS - 10

    said = Conversation(conversation_id=chat, run_id=RUN_ID, system=None, turns=())
    asked.inference.complete("a", record, result={}, timings=TIMINGS, conversation=said)
    left = seconds_left(client)
    for name in (key, f"{key}:pieces"):
        assert SETTINGS.result_ttl_seconds - 10 < left[name] <= SETTINGS.result_ttl_seconds
    kept = left[conversation_key]
    assert SETTINGS.conversation_ttl_seconds - 10 < kept <= SETTINGS.conversation_ttl_seconds
    assert f"{conversation_key}:pending" not in left
    assert min(left.values()) > 0


def test_a_request_that_is_worked_on_for_long_does_not_expire(
    asked: InferenceUnderTest, client: RedisClient
) -> None:
    request_id = asked.submit()
    record = asked.take_one("a")
    key = f"generate:{RUN_ID}:{request_id}"
    acts: list[Callable[[], None]] = [
        lambda: asked.inference.renew("a", (record,), lease_seconds=60),
        lambda: asked.tell("a", record, "piece"),
        lambda: asked.inference.give_back("a", (record,), why=GivenBack.STOPPED),
    ]
    for act in acts:
        client.call("EXPIRE", key, 5)
        act()
        assert seconds_left(client)[key] > UNANSWERED_SECONDS - 10


@pytest.mark.parametrize("kind", list(InferenceKind))
def test_a_request_lies_under_its_kind_run_and_id(
    kind: InferenceKind, asked: InferenceUnderTest, client: RedisClient
) -> None:
    request = new_request().model_copy(update={"kind": kind})
    asked.inference.submit(request, idempotency=None)
    assert client.call("TYPE", f"{kind.value}:{request.run_id}:{request.request_id}") == "hash"


def test_a_failure_is_kept_as_long_as_an_answer(asked: InferenceUnderTest, client: RedisClient) -> None:
    given, reaped = asked.submit(batch_key="x"), asked.submit(batch_key="y")
    asked.inference.fail("a", asked.take_one("a"), FAILED)
    asked.take_one("a", lease_seconds=LEASE_SECONDS)
    asked.pass_time(LEASE_SECONDS + 0.01)
    asked.inference.reap(most_deaths=1)
    for request_id in (given, reaped):
        left = seconds_left(client)[f"generate:{RUN_ID}:{request_id}"]
        assert SETTINGS.result_ttl_seconds - 10 < left <= SETTINGS.result_ttl_seconds


# ---------------------------------------------------------------- lost replies


def test_what_was_taken_when_the_reply_was_lost_is_handed_over_at_the_next_call(
    forgetful: ForgetfulClient,
) -> None:
    asked = redis_inference(forgetful)
    first = asked.submit()
    forgetful.loses = True
    with lost():
        asked.take("a")
    second = asked.submit()
    (again,) = asked.take("a")
    assert (again.request.request_id, again.tries, again.owner) == (first, 1, "a")
    assert asked.complete("a", again)
    assert ids(asked.take("a")) == [second]


def test_another_owner_does_not_get_what_was_taken_when_a_reply_was_lost(forgetful: ForgetfulClient) -> None:
    asked = redis_inference(forgetful)
    asked.submit()
    forgetful.loses = True
    with lost():
        asked.take("a")
    assert asked.take("b") == ()


def test_what_somebody_else_has_by_now_is_not_handed_over_late(forgetful: ForgetfulClient) -> None:
    asked = redis_inference(forgetful)
    batch = [asked.submit() for _ in range(3)]
    forgetful.loses = True
    with lost():
        asked.take("a", lease_seconds=60)
    records = tuple(asked.get(request_id) for request_id in batch)
    asked.inference.give_back("a", records[:2], why=GivenBack.LOST)
    assert asked.take_one("b").request.request_id == batch[0]
    assert ids(asked.take("a")) == [batch[2]]
    assert ids(asked.take("a")) == [batch[1]]


def test_pieces_whose_arrival_was_unsure_are_not_told_twice(forgetful: ForgetfulClient) -> None:
    asked = redis_inference(forgetful)
    asked.submit()
    record = asked.take_one("a")
    asked.tell("a", record, "ha")
    forgetful.loses = True
    with lost():
        asked.tell("a", record, "ha", "ha")
    asked.tell("a", record, "ha", "ha", "!")
    assert [text for _, text in asked.told(record)] == ["ha", "ha", "ha", "!"]


def test_the_first_pieces_are_not_told_twice_either(forgetful: ForgetfulClient) -> None:
    asked = redis_inference(forgetful)
    asked.submit()
    record = asked.take_one("a")
    forgetful.loses = True
    with lost():
        asked.tell("a", record, "ha")
    asked.tell("a", record, "ha", "ha")
    assert [text for _, text in asked.told(record)] == ["ha", "ha"]


def test_pieces_of_a_request_that_somebody_else_took_follow_those_that_are_there(
    asked: InferenceUnderTest, client: RedisClient
) -> None:
    asked.submit()
    record = asked.take_one("a")
    asked.tell("a", record, "one")
    RedisInferenceStore(client, SETTINGS).tell("a", record, (Piece(sequence=0, text="two"),))
    assert [text for _, text in asked.told(record)] == ["one", "two"]


def test_an_answer_whose_arrival_was_unsure_may_be_given_again(forgetful: ForgetfulClient) -> None:
    asked = redis_inference(forgetful)
    asked.submit()
    record = asked.take_one("a")
    forgetful.loses = True
    with lost():
        asked.complete("a", record, "first")
    assert asked.complete("a", record, "again")
    assert asked.get(record.request.request_id).result == '{"answer":"first"}'


def test_what_was_told_is_remembered_only_of_what_was_taken_last(
    asked: InferenceUnderTest, client: RedisClient
) -> None:
    """A record whose end could not be written, or that was reaped, has no end that would forget it."""
    for _ in range(3):
        asked.submit()
        asked.tell("a", asked.take_one("a"), "one")
    assert [len(told) for told in vars(asked.inference)["_told"].values()] == [1]


def test_an_answer_is_read_as_the_text_that_it_is(asked: InferenceUnderTest, client: RedisClient) -> None:
    request_id = asked.submit()
    asked.complete("a", asked.take_one("a"))
    written = '{"loss": 1.50, "tokens": [ ]}'
    client.call("HSET", f"generate:{RUN_ID}:{request_id}", "result", written)
    assert asked.get(request_id).result == written


# ---------------------------------------------------------------- faults


def test_a_damaged_record_does_not_stand_in_the_way(asked: InferenceUnderTest, client: RedisClient) -> None:
    damaged, whole = asked.submit(), asked.submit()
    key = f"generate:{RUN_ID}:{damaged}"
    client.call("HSET", key, "request", '{"spec":"my secret text"}')
    with pytest.raises(AppError) as caught:
        asked.get(damaged)
    assert caught.value.code is ErrorCode.INTERNAL
    assert "/request/kind" in str(caught.value.facts["detail"])
    assert "secret" not in f"{caught.value.facts} {caught.value.__cause__}"
    with capture_logs() as logged:
        assert ids(asked.take("a")) == [whole]
    assert [(line["event"], line["path"]) for line in logged] == [("request_left_out", key)]
    assert client.call("EXISTS", key) == 0


def test_a_server_that_hangs_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        silent = RedisInferenceStore(connect(f"redis://127.0.0.1:{port}", timeout_seconds=0.05), SETTINGS)
        with lost():
            silent.take("a", most=1, lease_seconds=60, wait_seconds=20.0)


def test_a_restarted_server_has_all_that_it_acknowledged(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        client = connect(server.url)
        before = redis_inference(client)
        chat = new_ulid()
        answered, held, waiting = (before.submit(batch_key=key) for key in "xyz")
        before.complete("a", before.take_one("a"))
        record = before.take_one("a")
        before.tell("a", record, "half a")
        before.submit(conversation_id=chat, idempotency=KEY)
        before.close()
        client.close()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        server.start()
        client = connect(server.url)
        after = redis_inference(client)
        assert after.get(answered).status is InferenceStatus.COMPLETED
        assert after.inference.depth() == 2
        assert after.told(record) == [(1, "half a")]
        with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.CONFLICT):
            after.submit(conversation_id=chat)
        assert after.complete("a", record)
        assert after.get(held).status is InferenceStatus.COMPLETED
        assert ids(after.take("b")) == [waiting]
        after.close()
        client.close()


def test_an_end_takes_only_its_own_mark_off_a_conversation(
    asked: InferenceUnderTest, client: RedisClient
) -> None:
    chat = new_ulid()
    asked.submit(conversation_id=chat)
    record = asked.take_one("a")
    client.call("DEL", f"chat:conversation:{RUN_ID}:{chat}:pending")  # evicted, say
    asked.submit(conversation_id=chat)
    asked.complete("a", record)
    with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.CONFLICT):
        asked.submit(conversation_id=chat)


# ---------------------------------------------------------------- being woken up


def until_blocked(client: RedisClient, num_clients: int) -> None:
    """Until so many wait for the bell."""
    for _ in range(1000):
        facts = client.call("INFO", "clients")
        if isinstance(facts, dict) and facts["blocked_clients"] == num_clients:
            return
        time.sleep(0.002)
    pytest.fail(f"There were never {num_clients} who wait.")


def test_a_stroke_of_the_bell_that_is_lost_costs_less_than_a_second(
    redis_url: str, client: RedisClient, asked: InferenceUnderTest
) -> None:
    thief = connect(redis_url)
    with ThreadPoolExecutor(2) as threads:
        theft = threads.submit(thief.call, "BLPOP", "inference:bell", 0.9)
        until_blocked(client, 1)
        taking = threads.submit(asked.inference.take, "a", most=1, lease_seconds=60, wait_seconds=20.0)
        until_blocked(client, 2)
        begun = time.monotonic()
        request_id = asked.submit()
        assert theft.result() == ("inference:bell", "1")
        assert ids(taking.result()) == [request_id]
    assert time.monotonic() - begun < 10.0
    thief.close()


def test_nobody_wakes_up_for_a_request_that_was_taken_already(
    asked: InferenceUnderTest, client: RedisClient
) -> None:
    asked.submit()
    assert client.call("LLEN", "inference:bell") == 1
    asked.submit()
    assert client.call("LLEN", "inference:bell") == 1
    asked.take_one()
    assert client.call("LLEN", "inference:bell") == 1
    asked.take_one()
    assert client.call("LLEN", "inference:bell") == 0


def test_an_answer_wakes_up_who_waits_for_it(redis_url: str, asked: InferenceUnderTest) -> None:
    async def story() -> None:
        news = RedisRunSignal(redis_url, channel=INFERENCE_CHANNEL)
        await news.wait("warm-up", timeout_seconds=1.0)
        request_id = await asyncio.to_thread(asked.submit)
        waiting = asyncio.create_task(news.wait(request_id, timeout_seconds=20.0))
        await asyncio.sleep(0.01)
        record = await asyncio.to_thread(asked.take_one)
        await asyncio.to_thread(asked.complete, "a", record)
        await asyncio.wait_for(waiting, 10.0)
        await news.close()

    asyncio.run(story())


def test_in_memory_a_taker_wakes_up_for_what_was_given_back() -> None:
    asked = memory_inference()
    asked.submit()
    record = asked.take_one("a")
    with ThreadPoolExecutor(1) as threads:
        begun = threading.Event()

        def take() -> tuple[InferenceRecord, ...]:
            begun.set()
            return asked.inference.take("b", most=1, lease_seconds=60, wait_seconds=20.0)

        taking = threads.submit(take)
        begun.wait()
        asked.inference.give_back("a", (record,), why=GivenBack.STOPPED)
        assert ids(taking.result(timeout=10.0)) == [record.request.request_id]
