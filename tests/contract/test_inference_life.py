"""Random lives of requests: the store in Redis and the one in memory must tell the same story."""

import functools
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from model_trainer.core.contracts.base import JsonObject, as_json
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    Conversation,
    GivenBack,
    InferenceRecord,
    InferenceRequest,
    InferenceStatus,
    Piece,
    Turn,
)
from model_trainer.core.contracts.run import IdempotencyKey, Problem
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.redis_client import RedisClient
from tests.contract.inference_stores import (
    RUN_ID,
    SETTINGS,
    TIMINGS,
    InferenceUnderTest,
    memory_inference,
    new_request,
    redis_inference,
)

MAX_WAITING = 6
LEASE_SECONDS = 60.0
CHATS = (new_ulid(), new_ulid())
PROBLEM = Problem(code=ErrorCode.DIVERGED, message="No.")
OWNERS = st.sampled_from("ab")
WHICH = st.integers(0, 9)

Answer = tuple[JsonObject, ...] | tuple[str, ...] | JsonObject | ErrorCode | bool | None


def timeless(record: InferenceRecord) -> JsonObject:
    """All of a record but its clock, which says only whether there is a time."""
    fields = as_json(record)
    for name in [name for name in fields if name.endswith("_ms")]:
        fields[name] = fields[name] is not None
    return fields


def submitted(request: InferenceRequest, once: IdempotencyKey | None, store: InferenceUnderTest) -> Answer:
    """How a store takes a request in."""
    submission = store.inference.submit(request, idempotency=once)
    return timeless(submission.record) | {"replayed": submission.replayed}


def conversation(chat: str, store: InferenceUnderTest) -> Answer:
    """What was said, as a store has it."""
    return as_json(store.inference.conversation(RUN_ID, chat))


def has_taken(life: "InferenceLife") -> bool:
    """Whether there is an owner who could act."""
    return bool(life.taken)


class InferenceLife(RuleBasedStateMachine):
    """A line in both stores. What was taken is kept after it was lost: stale owners try again and again."""

    def __init__(self, client: RedisClient) -> None:
        super().__init__()
        self.client = client
        client.call("FLUSHALL")
        narrow = SETTINGS.model_copy(update={"max_waiting": MAX_WAITING})
        self.stores = (redis_inference(client, narrow), memory_inference(narrow))
        self.requests: list[InferenceRequest] = []
        self.taken: list[tuple[str, InferenceRecord]] = []

    def both(self, act: Callable[[InferenceUnderTest], Answer]) -> Answer:
        """What both stores answer, which must be the same."""
        answers: list[Answer] = []
        for store in self.stores:
            try:
                answers.append(act(store))
            except AppError as error:
                answers.append(error.code)
        assert answers[0] == answers[1]
        return answers[1]

    def owned(self, act: Callable[[InferenceUnderTest, str, InferenceRecord], Answer], which: int) -> None:
        """Lets one of all owners there ever were act, the latest first."""
        owner, record = self.taken[-1 - which % len(self.taken)]
        self.both(lambda store: act(store, owner, record))

    @rule(
        batch_keys=st.sampled_from(["x", "xx", "yx", "xxyx"]),
        chat=st.sampled_from([None, None, None, *CHATS]),
        goes_on=st.booleans(),
        key=st.sampled_from([None, None, None, "k1", "k2"]),
        body=st.sampled_from("112"),
    )
    def submit(self, batch_keys: str, chat: str | None, goes_on: bool, key: str | None, body: str) -> None:
        once = None if key is None else IdempotencyKey(key=key, body_sha256=body * 64)
        for batch_key in batch_keys:
            request = new_request(batch_key=batch_key, conversation_id=chat, goes_on=goes_on)
            answer = self.both(functools.partial(submitted, request, once))
            if isinstance(answer, dict) and not answer["replayed"]:
                self.requests.append(request)

    @rule(owner=OWNERS, most=st.integers(1, 3))
    def take(self, owner: str, most: int) -> None:
        records = [store.take(owner, most=most, lease_seconds=LEASE_SECONDS) for store in self.stores]
        assert [timeless(record) for record in records[0]] == [timeless(record) for record in records[1]]
        assert len({record.request.batch_key for record in records[1]}) <= 1
        self.taken += [(owner, record) for record in records[1]]

    @precondition(has_taken)
    @rule(which=WHICH, chat=st.sampled_from([None, *CHATS]))
    def complete(self, which: int, chat: str | None) -> None:
        turns = (Turn(role="user", content=f"{len(self.taken)}"),)
        said = (
            None
            if chat is None
            else Conversation(conversation_id=chat, run_id=RUN_ID, system=None, turns=turns)
        )
        self.owned(
            lambda store, owner, record: store.inference.complete(
                owner, record, result={"a": []}, timings=TIMINGS, conversation=said
            ),
            which,
        )
        for each in CHATS:
            self.both(functools.partial(conversation, each))

    @precondition(has_taken)
    @rule(which=WHICH)
    def fail(self, which: int) -> None:
        self.owned(lambda store, owner, record: store.inference.fail(owner, record, PROBLEM), which)

    @precondition(has_taken)
    @rule(which=WHICH, num_pieces=st.integers(0, 3))
    def tell(self, which: int, num_pieces: int) -> None:
        pieces = tuple(Piece(sequence=place, text="same") for place in range(num_pieces))
        self.owned(lambda store, owner, record: store.inference.tell(owner, record, pieces), which)

    @precondition(has_taken)
    @rule(which=WHICH, why=st.sampled_from(GivenBack), is_stranger=st.sampled_from([False, False, True]))
    def give_back(self, which: int, why: GivenBack, is_stranger: bool) -> None:
        self.owned(
            lambda store, owner, record: store.inference.give_back(
                "stranger" if is_stranger else owner, (record,), why=why
            ),
            which,
        )

    @precondition(has_taken)
    @rule(which=WHICH)
    def renew(self, which: int) -> None:
        self.owned(
            lambda store, owner, record: store.inference.renew(owner, (record,), lease_seconds=LEASE_SECONDS),
            which,
        )

    @rule(most_deaths=st.integers(1, 4), is_late=st.booleans())
    def reap(self, most_deaths: int, is_late: bool) -> None:
        """Later than any lease, perhaps. Redis' clock cannot be moved, so its deadlines are."""
        if is_late:
            self.stores[1].pass_time(LEASE_SECONDS + 1.0)
            for key in self.client_keys():
                self.client.call("ZADD", "inference:leases", "XX", 0, key)
        self.both(lambda store: tuple(sorted(store.inference.reap(most_deaths=most_deaths))))

    def client_keys(self) -> list[str]:
        return [f"{one.kind.value}:{one.run_id}:{one.request_id}" for one in self.requests]

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    @invariant()
    def both_stores_tell_the_same_story(self) -> None:
        depth = {store.inference.depth() for store in self.stores}
        assert len(depth) == 1
        for request in self.requests:
            here, there = (
                store.inference.get(request.kind, request.run_id, request.request_id) for store in self.stores
            )
            assert timeless(here) == timeless(there)
            assert self.stores[0].told(here) == self.stores[1].told(there)
            assert (here.owner is None) == (here.status is InferenceStatus.QUEUED)

    @invariant()
    def news_is_told_alike(self) -> None:
        """In any order: one reaper may put several back at once."""
        assert sorted(self.stores[0].announced()) == sorted(self.stores[1].announced())

    @invariant()
    def whoever_waits_can_hear_the_bell(self) -> None:
        """A line with somebody in it has a stroke of the bell left for the next who listens."""
        if self.stores[0].inference.depth() > 0:
            assert self.client.call("LLEN", "inference:bell") == 1


def test_any_life_of_requests_is_told_alike_by_every_store(client: RedisClient) -> None:
    class LifeInThisRedis(InferenceLife):
        def __init__(self) -> None:
            super().__init__(client)

    run_state_machine_as_test(
        LifeInThisRedis,
        settings=settings(max_examples=40, stateful_step_count=40, deadline=None, derandomize=True),
    )
