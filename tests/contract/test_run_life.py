"""Random lives of a run: the store in Redis and the one in memory must tell the same story, and a possible one."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from model_trainer.core.contracts.base import JsonObject, as_json
from model_trainer.core.contracts.events import CheckpointSaved, Event, JobResumed
from model_trainer.core.contracts.feed import START
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    Flags,
    HandBack,
    Holder,
    IdempotencyKey,
    LastCheckpoint,
    Lease,
    Outcome,
    Phase,
    Problem,
    Progress,
    RunRecord,
    RunStatus,
    RunUpdate,
    Submission,
)
from model_trainer.core.errors import AppError, ErrorCode, Reason
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.persistence.memory_feed import MemoryEventFeed
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_feed import RedisEventFeed
from tests.contract.run_stores import QUEUE, StoreUnderTest, memory_store, new_run, redis_store

LEASE_SECONDS = 3600.0
OUTCOMES = (
    Outcome(status=RunStatus.COMPLETED, message="Done.", result={"a": []}, metrics={"loss": 1.0}),
    Outcome(status=RunStatus.CANCELLED, message="As asked."),
    Outcome(
        status=RunStatus.FAILED, message="No.", problem=Problem(code=ErrorCode.DATA_CHANGED, message="No.")
    ),
)
HAND_BACKS = (
    HandBack(message="The worker stops."),
    HandBack(message="Again.", is_retry=True, problem=Problem(code=ErrorCode.STORE_UNAVAILABLE, message=".")),
    HandBack(message="Again later.", is_retry=True, delay_seconds=10_000.0),
    HandBack(status=RunStatus.PAUSED, message="Paused."),
    HandBack(status=RunStatus.PAUSED, message="No space.", reason=Reason.DISK_FULL, is_retry=True),
    HandBack(status=RunStatus.PAUSED, message="No space.", reason=Reason.DISK_FULL, delay_seconds=10_000.0),
)

Answer = (
    RunRecord | Submission | Lease | Flags | tuple[str, ...] | tuple[Holder, ...] | ErrorCode | bool | None
)


def timeless(record: RunRecord) -> JsonObject:
    """All of a record but its clock, which says only whether there is a time."""
    fields = as_json(record)
    for name in [name for name in fields if name.endswith("_ms")]:
        fields[name] = bool(fields[name])
    fields["attempts"] = [
        {
            **attempt.model_dump(mode="json", exclude={"started_at_ms", "ended_at_ms"}),
            "ended": attempt.ended_at_ms is not None,
        }
        for attempt in record.attempts
    ]
    return fields


class RunLife(RuleBasedStateMachine):
    """One run in both stores. Leases are kept after they are lost: stale owners try again and again."""

    def __init__(self, client: RedisClient) -> None:
        super().__init__()
        self.client = client
        client.call("FLUSHALL")
        self.stores = (redis_store(client), memory_store())
        memory = self.stores[1].runs
        assert isinstance(memory, MemoryRunStore)
        self.feeds = (RedisEventFeed(client, "redis://unused"), MemoryEventFeed(memory))
        self.run_id = new_ulid()
        self.leases: list[Lease] = []
        for store in self.stores:
            store.runs.submit(new_run(run_id=self.run_id), idempotency=None)
        self.before = self.record()

    def record(self) -> RunRecord:
        return self.stores[1].runs.get(self.run_id)

    def both(self, act: Callable[[StoreUnderTest], Answer]) -> Answer:
        """What both stores answer, which must be the same."""
        answers: list[Answer] = []
        for store in self.stores:
            try:
                answers.append(act(store))
            except AppError as error:
                answers.append(error.code)
        first, second = answers
        if isinstance(first, Submission) and isinstance(second, Submission):
            assert first.replayed == second.replayed
            first, second = first.record, second.record
        if isinstance(first, RunRecord) and isinstance(second, RunRecord):
            assert timeless(first) == timeless(second)
        else:
            assert first == second
        return second

    def owned(self, act: Callable[[StoreUnderTest, Lease], Answer], choice: int) -> None:
        """Lets one of all owners there ever were act; only the last of them may succeed."""
        if not self.leases:
            return
        lease = self.leases[choice % len(self.leases)]
        is_current = lease.epoch == self.record().epoch and self.record().owner == lease.owner
        answer = self.both(lambda store: act(store, lease))
        assert (answer is ErrorCode.LEASE_LOST) == (not is_current)

    @rule(behind=st.sampled_from([0, 0, 0, 1, 2]))
    def claim(self, behind: int) -> None:
        owner, epoch = f"owner-{len(self.leases)}", self.record().epoch - behind
        lease = self.both(
            lambda store: store.runs.claim(
                self.run_id, epoch=epoch, owner=owner, host="host-1", lease_seconds=LEASE_SECONDS
            )
        )
        if isinstance(lease, Lease):
            self.leases.append(lease)

    @rule(
        choice=st.sampled_from([-1, -1, -1, 0, 1]),
        phase=st.sampled_from([None, Phase.TOKENIZING, Phase.TRAINING, Phase.EVALUATING]),
        step=st.integers(0, 3),
        news=st.sampled_from(["none", "checkpoint", "resume"]),
    )
    def heartbeat(self, choice: int, phase: Phase | None, step: int, news: str) -> None:
        told: dict[str, tuple[Event, ...]] = {
            "none": (),
            "checkpoint": (
                CheckpointSaved(
                    job_id=self.run_id, user_id=None, step=step, path="p", num_bytes=1, metrics={}
                ),
            ),
            "resume": (JobResumed(job_id=self.run_id, user_id=None, step=step),),
        }
        saved = LastCheckpoint(step=step, path="p", num_bytes=1) if news == "checkpoint" else None
        progress, metrics = Progress(step=step), {"loss": float(step)}
        update = RunUpdate(phase=phase, progress=progress, metrics=metrics, checkpoint=saved)
        self.owned(lambda store, lease: store.runs.heartbeat(lease, update, told[news]), choice)

    @rule(choice=st.sampled_from([-1, 0, 1]))
    def look_at_flags(self, choice: int) -> None:
        self.owned(lambda store, lease: store.runs.flags(lease), choice)

    @rule(choice=st.sampled_from([-1, 0]), outcome=st.sampled_from(OUTCOMES))
    def finish(self, choice: int, outcome: Outcome) -> None:
        self.owned(lambda store, lease: store.runs.finish(lease, outcome), choice)

    @rule(choice=st.sampled_from([-1, -1, 0]), hand_back=st.sampled_from(HAND_BACKS))
    def release(self, choice: int, hand_back: HandBack) -> None:
        news = (JobResumed(job_id=self.run_id, user_id=None, step=1),)
        self.owned(lambda store, lease: store.runs.release(lease, hand_back, news), choice)

    @rule(choice=st.sampled_from([-1, -1, 0]), digit=st.sampled_from("ab"))
    def point_at_artifact(self, choice: int, digit: str) -> None:
        self.owned(
            lambda store, lease: store.runs.point_at_artifact(
                lease.run_id, file_id=digit * 64, epoch=lease.epoch
            ),
            choice,
        )

    @rule(digit=st.sampled_from("cd"))
    def point_at_artifact_after_the_end(self, digit: str) -> None:
        answer = self.both(
            lambda store: store.runs.point_at_artifact(self.run_id, file_id=digit * 64, epoch=None)
        )
        assert (answer is ErrorCode.CONFLICT) == (not self.record().status.is_terminal)

    @rule()
    def forget_what_goes_on(self) -> None:
        if not self.record().status.is_terminal:
            assert self.both(lambda store: store.runs.forget(self.run_id)) is ErrorCode.CONFLICT

    @rule()
    def request_cancel(self) -> None:
        self.both(lambda store: store.runs.request_cancel(self.run_id))

    @rule()
    def request_pause(self) -> None:
        self.both(lambda store: store.runs.request_pause(self.run_id))

    @rule(step=st.sampled_from([None, None, 2]), key=st.sampled_from([None, None, "once"]))
    def resume(self, step: int | None, key: str | None) -> None:
        once = None if key is None else IdempotencyKey(key=key, body_sha256=f"{step}".rjust(64))
        self.both(lambda store: store.runs.resume(self.run_id, step=step, idempotency=once))

    @rule()
    def resume_when_due(self) -> None:
        self.both(lambda store: store.runs.resume_when_due(self.run_id))

    @rule(behind=st.sampled_from([0, 0, 1]))
    def lose_the_holder(self, behind: int) -> None:
        holder = Holder(run_id=self.run_id, epoch=self.record().epoch - behind, owner="?", host="h")
        self.both(lambda store: tuple(id_ for id_ in store.runs.reap((holder,)) if id_ == self.run_id))

    @rule()
    def lose_the_record(self) -> None:
        """And bring it back, from what was known: counters of crashes, delays and flags set by hand are forgotten."""
        record = self.stores[0].runs.get(self.run_id)
        events = self.stores[0].runs.events_after(self.run_id, after=0, limit=9999)
        for store in self.stores:
            store.lose_everything()
        assert self.both(lambda store: store.runs.restore(record, events))
        assert not self.both(lambda store: store.runs.restore(record, events))
        assert self.stores[0].runs.get(self.run_id).updated_at_ms == record.updated_at_ms

    @rule(value=st.sampled_from(["1", "0", ""]))
    def cancel_by_hand(self, value: str) -> None:
        for store in self.stores:
            store.cancel_by_hand(self.run_id, value)

    @rule()
    def lose_the_order(self) -> None:
        for store in self.stores:
            store.queue.remove(self.run_id, epoch=self.record().epoch, queue=QUEUE)

    @rule()
    def let_time_pass_and_reap(self) -> None:
        """Longer than any lease and delay. Redis' clock cannot be moved, so its deadlines are."""
        self.stores[1].pass_time(20_000.0)
        self.client.call("HSET", f"runs:record:{self.run_id}", "not_before_ms", 0)
        for index in ("runs:leases", "runs:waiting"):
            self.client.call("ZADD", index, "XX", 0, self.run_id)
        if self.record().owner is not None:
            self.client.call("HSET", f"runs:record:{self.run_id}", "lease_until_ms", 1)
        self.both(lambda store: tuple(run_id for run_id in store.runs.reap() if run_id == self.run_id))

    @rule()
    def reap(self) -> None:
        self.both(lambda store: tuple(run_id for run_id in store.runs.reap() if run_id == self.run_id))

    @rule()
    def account(self) -> None:
        for store in self.stores:
            store.runs.accounted(self.run_id)

    @invariant()
    def both_stores_tell_the_same_story(self) -> None:
        redis, memory = self.stores
        assert timeless(redis.runs.get(self.run_id)) == timeless(memory.runs.get(self.run_id))
        stories = [
            [
                (stored.seq, stored.event)
                for stored in store.runs.events_after(self.run_id, after=0, limit=999)
            ]
            for store in self.stores
        ]
        assert stories[0] == stories[1]
        assert [seq for seq, _ in stories[0]] == list(range(1, len(stories[0]) + 1))
        unaccounted = [self.run_id in store.runs.unaccounted(1000) for store in self.stores]
        assert unaccounted[0] == unaccounted[1]
        epoch = self.record().epoch
        assert self.both(lambda store: store.runs.held()) is not None
        held = [store.queue.holds(self.run_id, epoch=epoch, queue=QUEUE) for store in self.stores]
        assert held[0] == held[1]

    @invariant()
    def both_feeds_tell_what_was_told_since_the_store_was_lost(self) -> None:
        pages = [feed.read(after=START, limit=999) for feed in self.feeds]
        stories = [[(item.stored.seq, item.stored.event) for item in page.items] for page in pages]
        assert stories[0] == stories[1]
        last = self.record().last_event_seq
        assert [seq for seq, _ in stories[0]] == list(range(last - len(stories[0]) + 1, last + 1))

    @invariant()
    def the_story_is_a_possible_one(self) -> None:
        record, before = self.record(), self.before
        assert record.epoch >= before.epoch
        assert record.last_event_seq >= before.last_event_seq
        if before.status.is_terminal and record.status is before.status:
            assert timeless(record) == timeless(before) | {"artifact_file_id": record.artifact_file_id}
        self.before = record

    @invariant()
    def the_projections_follow(self) -> None:
        record = self.record()
        names = (f"runs:status:{self.run_id}", f"runs:msg:{self.run_id}")
        assert self.client.many([("GET", name) for name in names]) == [record.status.value, record.message]
        assert self.client.call("GET", f"runs:artifact:{self.run_id}:file_id") == record.artifact_file_id
        assert (
            self.client.call("ZSCORE", f"runs:index:train:status:{record.status.value}", self.run_id) == 0.0
        )


def test_any_life_of_a_run_is_told_alike_by_every_store(client: RedisClient) -> None:
    class LifeInThisRedis(RunLife):
        def __init__(self) -> None:
            super().__init__(client)

    run_state_machine_as_test(
        LifeInThisRedis,
        settings=settings(max_examples=40, stateful_step_count=20, deadline=None, derandomize=True),
    )
