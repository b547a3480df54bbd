"""Trainings without a server: ordered, shown, stopped and gone on with, all in this process."""

import json
import os
import signal
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from model_trainer.cli.local import (
    LOOK_EVERY_SECONDS,
    Following,
    LocalWork,
    completed,
    pausing,
    settings_in,
)
from model_trainer.cli.output import Output
from model_trainer.client.views import ServerEvent
from model_trainer.container import Container, local
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.events import CheckpointSaved
from model_trainer.core.contracts.run import (
    Problem,
    ProblemFault,
    RunKind,
    RunQuery,
    RunRecord,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint
from model_trainer.orchestrators.needs import Needs
from model_trainer.orchestrators.training import TrainingOrchestrator
from tests.unit.worker.bench import Bench

RUN = "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"
STEPS = 120
TEXT = "".join(f"the {word} sat on a mat and looked at {word}.\n" for word in ("cat", "dog", "hen")) * 200
TINY: JsonObject = {
    "model_family": "gpt2",
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 16,
    "max_seq_len": 16,
    "batch_size": 4,
    "max_steps": STEPS,
    "precision": "fp32",
    "cpu_threads": 1,
    "device": "cpu",
    "checkpoint": {"every_steps": 5},
}


@dataclass
class Notes:
    """An Output's notes, kept."""

    said: list[str] = field(default_factory=list)

    def output(self) -> Output:
        said = self.said

        class Kept(Output):
            def note(self, text: str) -> None:
                said.append(text)

        return Kept(as_json=False)


@dataclass
class Shown:
    """A board that remembers."""

    names: list[str] = field(default_factory=list)
    seqs: list[object] = field(default_factory=list)

    def open(self) -> AbstractContextManager[object]:
        return nullcontext()

    def show(self, event: ServerEvent) -> None:
        self.names.append(event.name)
        self.seqs.append(event.data["seq"])


class ToldOfPauses(TrainingOrchestrator):
    """Lets a test wait until a pause has been asked for."""

    def __init__(self, container: Container) -> None:
        super().__init__(
            runs=container.runs,
            artifacts=container.artifacts,
            queue_name=container.settings.rq.queue_name,
            reached=container.reached,
            needs=Needs(references=container.references, store=container.store, runs=container.runs),
        )
        self.asked = threading.Event()

    def pause(self, run_id: str) -> RunRecord:
        record = super().pause(run_id)
        self.asked.set()
        return record


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    found = settings_in(tmp_path_factory.mktemp("state"), load_settings(env_file=None))
    app: dict[str, object] = {"heartbeat_seconds": 0.02}
    return found.model_copy(update={"app": found.app.model_copy(update=app)})


@pytest.fixture(scope="module")
def order(settings: Settings) -> JsonObject:
    """A training, on a tokenizer that has been trained."""
    corpus = settings.app.artifacts_root.parent / "corpus.txt"
    corpus.write_text(TEXT)
    notes = Notes()
    body: JsonObject = {"method": "char", "vocab_size": 100, "corpus_path": str(corpus)}
    tokenizer = completed(LocalWork(local(settings), notes.output()).train_tokenizer(body))
    assert notes.said
    return {**TINY, "corpus_path": str(corpus), "tokenizer_id": tokenizer.run_id}


def weights(settings: Settings, record: RunRecord) -> bytes:
    return (settings.app.artifacts_root / "models" / record.run_id / "model.safetensors").read_bytes()


def interrupted(settings: Settings, order: JsonObject, number: signal.Signals) -> RunRecord:
    """The record of a training during which this process got a signal."""
    container = local(settings)
    training = ToldOfPauses(container)
    sent: list[Failpoint] = []

    def reached(point: Failpoint) -> None:
        if point is Failpoint.CHECKPOINT_RENAMED and not sent:
            sent.append(point)
            os.kill(os.getpid(), number)
            if number is signal.SIGINT:
                assert training.asked.wait(60)

    with_signal = replace(container, training=training, reached=reached)
    record = LocalWork(with_signal, Notes().output()).train(order)
    assert sent
    return record


@pytest.fixture(scope="module")
def straight(settings: Settings, order: JsonObject) -> bytes:
    """The weights that a training ends with which nobody interrupts."""
    return weights(settings, completed(LocalWork(local(settings), Notes().output()).train(order)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_a_signal_stopped_goes_on_in_another_process_to_the_same_weights(
    settings: Settings, order: JsonObject, straight: bytes, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    record = interrupted(settings, order, number)
    assert signal.getsignal(number) == before
    assert record.status is RunStatus.PAUSED
    assert record.checkpoint is not None
    assert 0 < record.checkpoint.step < STEPS
    with pytest.raises(AppError, match=f"model-trainer train --resume {record.run_id}") as caught:
        completed(record)
    assert caught.value.facts == {"run_id": record.run_id}
    # local() reads the records that the folders have kept, as the next call of the command line does.
    again = local(settings)
    assert again.runs.get(record.run_id).status is RunStatus.PAUSED
    notes = Notes()
    done = completed(LocalWork(again, notes.output()).resume(record.run_id))
    assert weights(settings, done) == straight
    assert not any("worker has started" in line for line in notes.said[1:]), "told of this call alone"


def test_only_a_run_that_is_known_can_go_on(settings: Settings) -> None:
    with pytest.raises(AppError) as caught:
        LocalWork(local(settings), Notes().output()).resume(RUN)
    assert caught.value.code is ErrorCode.RUN_NOT_FOUND


def test_a_body_that_does_not_fit_orders_nothing(settings: Settings) -> None:
    container = local(settings)
    with pytest.raises(AppError) as caught:
        LocalWork(container, Notes().output()).train({"model_family": "gpt2"})
    assert caught.value.code is ErrorCode.CONFIG_INVALID


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_events_are_shown_in_order_and_all_of_them_at_the_end(bench: Bench) -> None:
    run_id, board = bench.submitted(), Shown()
    following = Following(bench.store, bench.store.request_pause, run_id)
    with following.on(board):
        lease = bench.store.claim(
            run_id, epoch=bench.store.get(run_id).epoch, owner="w", host=None, lease_seconds=60
        )
        assert lease is not None
        saved = [
            CheckpointSaved(job_id=run_id, user_id=None, step=step, path=f"{step}", num_bytes=1, metrics={})
            for step in range(450)
        ]
        bench.store.heartbeat(lease, RunUpdate(), tuple(saved))
    told = bench.store.events_after(run_id, after=0, limit=1000)
    assert [event.event.type for event in told][:1] == ["trainer.job.queued.v1"]
    assert board.seqs == [event.seq for event in told[1:]], "what was told before is not told again"
    assert board.names.count("checkpoint") == 450


def test_the_first_interrupt_asks_for_one_pause_and_says_it_was_the_first(bench: Bench) -> None:
    run_id, board = bench.submitted(), Shown()
    asked: list[str] = []
    heard = threading.Event()

    def pause(run: str) -> None:
        asked.append(run)
        bench.store.request_pause(run)
        heard.set()

    following = Following(bench.store, pause, run_id)
    with following.on(board):
        assert following.interrupt()
        assert not following.interrupt()
        assert heard.wait(60)
        time.sleep(3 * LOOK_EVERY_SECONDS)
    assert asked == [run_id]
    assert "state" in board.names


def test_a_pause_that_comes_too_late_is_let_go(bench: Bench) -> None:
    run_id, board = bench.submitted(), Shown()
    refused = threading.Event()

    def pause(_run: str) -> None:
        refused.set()
        raise AppError(ErrorCode.CONFLICT, "It has ended.")

    following = Following(bench.store, pause, run_id)
    with following.on(board):
        following.interrupt()
        assert refused.wait(60)
        bench.store.request_pause(run_id)
    assert "state" in board.names, "it still shows what comes"


def test_the_second_ctrl_c_ends_the_process_at_once(bench: Bench) -> None:
    before = signal.getsignal(signal.SIGINT)
    following = Following(bench.store, bench.store.request_pause, bench.submitted())
    with pausing(following):
        os.kill(os.getpid(), signal.SIGINT)
        assert not following.interrupt(), "the first was heard, and nothing else happened"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_run_that_did_not_complete_is_an_error_in_its_own_words(bench: Bench) -> None:
    record = bench.store.get(bench.submitted())
    done = record.model_copy(update={"status": RunStatus.COMPLETED})
    assert completed(done) is done
    problem = Problem(
        code=ErrorCode.DATA_EMPTY,
        message="Nothing here.",
        faults=(ProblemFault(pointer="/data_paths", message="add texts"),),
    )
    failed = record.model_copy(update={"status": RunStatus.FAILED, "problem": problem})
    with pytest.raises(AppError, match=r"^Nothing here\.$") as caught:
        completed(failed)
    assert caught.value.code is ErrorCode.DATA_EMPTY
    assert [(fault.pointer, fault.message) for fault in caught.value.faults] == [("/data_paths", "add texts")]
    cancelled = record.model_copy(update={"status": RunStatus.CANCELLED, "message": "Cancelled on request."})
    with pytest.raises(AppError, match=f"{record.run_id} is cancelled: Cancelled on request"):
        completed(cancelled)


def test_finished_runs_are_known_again_with_all_that_was_told_of_them(
    settings: Settings, order: JsonObject, straight: bytes
) -> None:
    assert straight
    again = local(settings)
    (training,) = again.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=1)).records
    (tokenizer,) = again.runs.list_runs(RunQuery(kind=RunKind.TOKENIZER, limit=1)).records
    assert (training.status, tokenizer.status) == (RunStatus.COMPLETED, RunStatus.COMPLETED)
    told = again.runs.events_after(training.run_id, after=0, limit=10_000)
    assert [event.seq for event in told] == list(range(1, training.last_event_seq + 1))
    assert again.runs.events_after(tokenizer.run_id, after=0, limit=10) == ()


def test_what_was_under_way_when_its_process_died_is_left_alone(
    settings: Settings, order: JsonObject
) -> None:
    container = local(settings)
    spec = container.registry.parse_train_spec(json.dumps(order))
    queued = container.training.start(spec, request_id=RUN, idempotency=None).record
    (settings.app.runs_root / "torn").mkdir()
    (settings.app.runs_root / "torn" / "record.json").write_text("{")
    again = local(settings)
    with pytest.raises(AppError):
        again.runs.get(queued.run_id)


def test_files_are_read_wherever_they_lie(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a text\n")
    found = local(settings).corpora.locate(
        str(tmp_path / "texts.txt"), suffixes=(".txt",), pointer="/corpus_path"
    )
    assert found.num_bytes == 7
