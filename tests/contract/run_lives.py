"""Random lives of a run, each step held against the moves that a run may make."""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from model_trainer.core.contracts.events import CheckpointSaved, JobStarted
from model_trainer.core.contracts.run import Flags, HandBack, Holder, Lease, Outcome, RunStatus, RunUpdate
from model_trainer.core.errors import AppError, ErrorCode, Reason
from tests.contract.run_stores import StoreUnderTest

QUEUED, RUNNING, PAUSED, CANCELLING = (
    RunStatus.QUEUED,
    RunStatus.RUNNING,
    RunStatus.PAUSED,
    RunStatus.CANCELLING,
)
COMPLETED, FAILED, CANCELLED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED
Move = tuple[RunStatus, RunStatus, str]
LONG = 3600.0
MAX_CRASHES = 3

MOVES: frozenset[Move] = frozenset(
    (old, new, script)
    for script, pairs in {
        "claim": ((QUEUED, RUNNING), (QUEUED, CANCELLED), (QUEUED, PAUSED)),
        "heartbeat": ((RUNNING, CANCELLING),),
        "finish": tuple(
            (old, new) for old in (RUNNING, CANCELLING) for new in (COMPLETED, FAILED, CANCELLED)
        ),
        "release": ((RUNNING, QUEUED), (RUNNING, PAUSED), (RUNNING, CANCELLED), (CANCELLING, CANCELLED)),
        "request_cancel": ((QUEUED, CANCELLED), (PAUSED, CANCELLED), (RUNNING, CANCELLING)),
        "request_pause": ((QUEUED, PAUSED),),
        "resume": ((PAUSED, QUEUED), (FAILED, QUEUED), (CANCELLED, QUEUED)),
        "resume_when_due": ((PAUSED, QUEUED),),
        "reap": (
            (QUEUED, CANCELLED),
            (QUEUED, PAUSED),
            (PAUSED, CANCELLED),
            (RUNNING, QUEUED),
            (RUNNING, PAUSED),
            (RUNNING, FAILED),
            (RUNNING, CANCELLED),
            (CANCELLING, CANCELLED),
        ),
    }.items()
    for old, new in pairs
)
"""Who may move a run from where to where: nothing else happens."""


class RunStates(RuleBasedStateMachine):
    """One run, and what the table says must come of it. Leases are kept after they are lost."""

    def __init__(self, store: StoreUnderTest, seen: set[Move]) -> None:
        super().__init__()
        store.lose_everything()
        self.store = store
        self.seen = seen
        self.run_id = store.submit()
        self.leases: list[Lease] = []
        self.holder: Lease | None = None
        self.status = QUEUED
        self.epoch = 0
        self.is_due = True
        self.asked_to_cancel = self.asked_to_pause = self.flag_by_hand = False
        self.reason: Reason | None = None
        self.crashes = self.claims = 0

    # ------------------------------------------------------------ the model

    @property
    def is_cancelled(self) -> bool:
        return self.asked_to_cancel or self.flag_by_hand

    def becomes(self, status: RunStatus, *, reason: Reason | None = None, is_due: bool = True) -> None:
        """What a move means, whoever made it."""
        if status is QUEUED:
            self.epoch += 1
        if status not in (RUNNING, CANCELLING):
            self.holder = None
        if status in (COMPLETED, FAILED, CANCELLED):
            self.asked_to_pause = False
        self.status, self.reason, self.is_due = status, reason, is_due

    def cancels(self) -> None:
        self.asked_to_cancel = True
        self.becomes(CANCELLED, reason=Reason.USER_CANCELLED)

    def act(self, script: str, action: Callable[[], object], *, refused: ErrorCode | None = None) -> object:
        """Lets the store act; who is refused changes nothing, and every move is one of the table."""
        before, answer, said = self.store.runs.get(self.run_id), None, None
        try:
            answer = action()
        except AppError as error:
            said = error.code
        assert said is refused
        assert said is not ErrorCode.LEASE_LOST or self.store.runs.get(self.run_id) == before
        after = self.store.runs.get(self.run_id)
        if after.status is not before.status:
            move = (before.status, after.status, script)
            assert move in MOVES
            self.seen.add(move)
        return answer

    # ------------------------------------------------------------ what others want

    @rule()
    def request_cancel(self) -> None:
        refused = ErrorCode.CONFLICT if self.status in (COMPLETED, FAILED) else None
        self.act("request_cancel", lambda: self.store.runs.request_cancel(self.run_id), refused=refused)
        if self.status in (QUEUED, PAUSED):
            self.cancels()
        elif self.status is RUNNING:
            self.asked_to_cancel = True
            self.becomes(CANCELLING)

    @rule()
    def request_pause(self) -> None:
        ends = self.status is QUEUED and self.is_cancelled and not self.asked_to_pause
        may_pause = self.status in (QUEUED, RUNNING, PAUSED) and not ends
        refused = None if may_pause else ErrorCode.CONFLICT
        script = "request_cancel" if ends else "request_pause"
        self.act(script, lambda: self.store.runs.request_pause(self.run_id), refused=refused)
        if ends:
            self.cancels()
        elif self.status is QUEUED and not self.asked_to_pause:
            self.becomes(PAUSED)
        self.asked_to_pause = self.asked_to_pause or may_pause

    @rule(step=st.sampled_from([None, 4]))
    def resume(self, step: int | None) -> None:
        refused = None if self.status in (PAUSED, FAILED, CANCELLED) else ErrorCode.CONFLICT
        self.act("resume", lambda: self.store.runs.resume(self.run_id, step=step), refused=refused)
        if refused is None:
            self.becomes(QUEUED)
            self.asked_to_cancel = self.asked_to_pause = self.flag_by_hand = False
            self.crashes = 0
            order = self.store.runs.get(self.run_id).resume_order
            assert (order and (order.epoch, order.step)) == (step and (self.epoch, step))

    @rule()
    def resume_when_due(self) -> None:
        is_resumed = self.act("resume_when_due", lambda: self.store.runs.resume_when_due(self.run_id))
        waits = self.status is PAUSED and self.reason is Reason.DISK_FULL and self.is_due
        assert is_resumed is (waits and not self.is_cancelled and not self.asked_to_pause)
        if is_resumed:
            self.becomes(QUEUED)

    @precondition(lambda self: not self.status.is_terminal)
    @rule()
    def set_the_flag_by_hand(self) -> None:
        self.store.cancel_by_hand(self.run_id, "1")
        self.flag_by_hand = True

    # ------------------------------------------------------------ owners, also stale ones

    @rule(behind=st.sampled_from([0, 0, 0, 1]), lease_seconds=st.sampled_from([LONG, 0.0]))
    def claim(self, behind: int, lease_seconds: float) -> None:
        epoch, owner = self.epoch - behind, f"owner-{len(self.leases)}"

        def claim() -> Lease | None:
            return self.store.runs.claim(
                self.run_id, epoch=epoch, owner=owner, host="h", lease_seconds=lease_seconds
            )

        lease = self.act("claim", claim)
        if self.status is not QUEUED or behind:
            assert lease is None
        elif self.is_cancelled:
            assert lease is None
            self.cancels()
        elif self.asked_to_pause:
            assert lease is None
            self.becomes(PAUSED)
        else:
            assert isinstance(lease, Lease) is self.is_due
            if isinstance(lease, Lease):
                self.leases.append(lease)
                self.becomes(RUNNING)
                self.holder, self.epoch, self.claims = lease, lease.epoch, self.claims + 1

    def owned(self, script: str, action: Callable[[Lease], object], *, choice: int) -> object | None:
        """One of all owners there ever were acts; only the holder may."""
        lease = self.leases[choice % len(self.leases)]
        refused = None if lease == self.holder else ErrorCode.LEASE_LOST
        return self.act(script, lambda: action(lease), refused=refused)

    @precondition(lambda self: self.leases)
    @rule(choice=st.sampled_from([-1, -1, 0]))
    def heartbeat(self, choice: int) -> None:
        news = CheckpointSaved(job_id=self.run_id, user_id=None, step=1, path="p", num_bytes=1, metrics={})
        flags = self.owned(
            "heartbeat", lambda lease: self.store.runs.heartbeat(lease, RunUpdate(), (news,)), choice=choice
        )
        if flags is not None:
            assert flags == Flags(cancel=self.is_cancelled, pause=self.asked_to_pause)
            if self.is_cancelled:
                self.asked_to_cancel = True
                self.becomes(CANCELLING)

    @precondition(lambda self: self.leases)
    @rule(choice=st.sampled_from([-1, -1, 0]), status=st.sampled_from([COMPLETED, FAILED, CANCELLED]))
    def finish(self, choice: int, status: RunStatus) -> None:
        outcome = Outcome.model_validate({"status": status, "message": "So."})
        record = self.owned("finish", lambda lease: self.store.runs.finish(lease, outcome), choice=choice)
        if record is not None:
            self.becomes(status, reason=self.store.runs.get(self.run_id).reason)

    @precondition(lambda self: self.leases)
    @rule(
        choice=st.sampled_from([-1, -1, 0]),
        status=st.sampled_from([QUEUED, PAUSED]),
        delay_seconds=st.sampled_from([0.0, LONG]),
        is_retry=st.booleans(),
    )
    def release(self, choice: int, status: RunStatus, delay_seconds: float, is_retry: bool) -> None:
        reason = Reason.DISK_FULL if status is PAUSED and is_retry else None
        hand_back = HandBack.model_validate(
            {
                "status": status,
                "message": "So.",
                "reason": reason,
                "delay_seconds": delay_seconds,
                "is_retry": is_retry,
            }
        )
        record = self.owned("release", lambda lease: self.store.runs.release(lease, hand_back), choice=choice)
        if record is None:
            return
        if self.is_cancelled:
            self.cancels()
        elif status is QUEUED and self.asked_to_pause:
            self.becomes(PAUSED)
        else:
            self.becomes(status, reason=reason, is_due=delay_seconds == 0)

    # ------------------------------------------------------------ the reaper, and worse

    @rule(lost=st.sampled_from([None, None, 0, 1]))
    def reap(self, lost: int | None) -> None:
        """`lost`: how old the epoch of the holder is that is known to be lost."""
        holders = (
            ()
            if lost is None
            else (Holder(run_id=self.run_id, epoch=self.epoch - lost, owner="?", host="h"),)
        )
        self.act("reap", lambda: self.store.runs.reap(holders))
        if self.status is PAUSED or (self.status is QUEUED and self.is_due):
            if self.is_cancelled:
                self.cancels()
            elif self.asked_to_pause:
                self.becomes(PAUSED, reason=self.reason, is_due=self.is_due)
        elif self.holder is not None and (lost == 0 or self.holder.lease_seconds == 0):
            self.crashes += 0 if self.is_cancelled else 1
            if self.is_cancelled:
                self.cancels()
            elif self.crashes == MAX_CRASHES:
                self.becomes(FAILED, reason=Reason.WORKER_LOST)
            else:
                self.becomes(PAUSED if self.asked_to_pause else QUEUED)

    @rule(is_to_pause=st.booleans())
    def lose_the_store_and_rebuild_it(self, is_to_pause: bool) -> None:
        """From a record in which somebody may have asked for a pause at last."""
        record = self.store.runs.get(self.run_id)
        events = self.store.runs.events_after(self.run_id, after=0, limit=9999)
        self.asked_to_pause = self.asked_to_pause or (is_to_pause and self.status is QUEUED)
        self.store.lose_everything()
        kept = record.model_copy(update={"pause_requested": self.asked_to_pause})
        assert self.store.runs.restore(kept, events)
        assert self.store.runs.events_after(self.run_id, after=0, limit=9999) == events
        self.flag_by_hand, self.is_due, self.crashes = False, True, 0

    # ------------------------------------------------------------ at any moment

    @invariant()
    def the_run_stands_where_the_table_says(self) -> None:
        record = self.store.runs.get(self.run_id)
        assert (record.status, record.epoch, record.reason) == (self.status, self.epoch, self.reason)
        assert (record.cancel_requested, record.pause_requested) == (
            self.asked_to_cancel,
            self.asked_to_pause,
        )
        assert (record.finished_at_ms is not None) == self.status.is_terminal

    @invariant()
    def at_most_one_owner_holds_it(self) -> None:
        holder = self.holder
        held = (
            ()
            if holder is None
            else (Holder(run_id=self.run_id, epoch=holder.epoch, owner=holder.owner, host="h"),)
        )
        assert self.store.runs.held() == held

    @invariant()
    def its_events_have_no_gap_and_tell_of_each_start(self) -> None:
        stored = self.store.runs.events_after(self.run_id, after=0, limit=9999)
        assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
        assert self.store.runs.get(self.run_id).last_event_seq == len(stored)
        assert sum(isinstance(one.event, JobStarted) for one in stored) == self.claims
