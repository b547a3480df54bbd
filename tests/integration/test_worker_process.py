"""The worker process: registers itself, hands orders to forked children, goes when it is told to."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from model_trainer.container import Container, live
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.jobs import TrainTokenizer
from model_trainer.core.contracts.run import RunStatus
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryWorkerRegistry
from model_trainer.registry import Registry
from model_trainer.tokenizers.kind import TokenizerBackend
from model_trainer.worker.dispatch import dispatch
from model_trainer.worker.preloading import preload
from model_trainer.worker.presence import describe_worker, in_own_process, say_goodbye
from model_trainer.worker_entry import run_job, serve_worker


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    settings = load_settings(env_file=None)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("one two three\n" * 200)
    roots = {
        "artifacts_root": tmp_path / "artifacts",
        "runs_root": tmp_path / "runs",
        "logs_root": tmp_path / "logs",
        "data_root": tmp_path / "corpus",
    }
    return settings.model_copy(
        update={"redis_url": SecretStr(redis_url), "app": settings.app.model_copy(update=roots)}
    )


def _submitted(container: Container, corpus_path: str) -> str:
    spec = container.registry.parse_tokenizer_spec(
        f'{{"method": "char", "corpus_path": "{corpus_path}", "vocab_size": 20}}'
    )
    return container.tokenizers.start(spec, request_id="r-1", idempotency=None).record.run_id


def test_an_order_is_carried_out_and_its_record_finished(settings: Settings) -> None:
    container = live(settings)
    run_id = _submitted(container, "a.txt")
    run_job(TrainTokenizer(run_id=run_id, epoch=0).model_dump_json(), settings=settings, worker_id="w-1")
    record = container.runs.get(run_id)
    assert record.status is RunStatus.COMPLETED, record.problem
    assert container.artifacts.exists("tokenizers", run_id)


def test_a_failpoint_is_set_for_whatever_a_process_does(settings: Settings) -> None:
    app = settings.app.model_copy(update={"failpoint": "claim.locked:error", "host_id": "elsewhere"})
    container = live(settings.model_copy(update={"app": app}))
    run_id = _submitted(container, "a.txt")
    order = TrainTokenizer(run_id=run_id, epoch=0)
    with pytest.raises(OSError, match=r"claim\.locked"):
        dispatch(order.model_dump_json(), container.worker_parts("w-1"))
    assert (container.runs.get(run_id).attempt, container.locks.host) == (0, "elsewhere")
    dispatch(order.model_dump_json(), container.worker_parts("w-1"))
    assert container.runs.get(run_id).status is RunStatus.COMPLETED


def test_an_order_that_is_none_of_ours_is_refused(settings: Settings) -> None:
    with pytest.raises(AppError) as caught:
        run_job('{"job": "os.system", "run_id": "x"}', settings=settings, worker_id="w-1")
    assert caught.value.code is ErrorCode.CONFIG_INVALID


def test_a_worker_is_registered_while_it_works_and_gone_when_it_is_told_to_stop(settings: Settings) -> None:
    container = live(settings)
    run_id = _submitted(container, "missing.txt")
    seen: list[tuple[str, ...]] = []

    def stop_when_done() -> None:
        deadline = time.monotonic() + 60
        while not container.runs.get(run_id).status.is_terminal and time.monotonic() < deadline:
            time.sleep(0.05)
        seen.append(tuple(worker.queue for worker in container.workers.alive()))
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_when_done)
    stopper.start()
    serve_worker(settings, "short")
    stopper.join()
    assert container.runs.get(run_id).status is RunStatus.FAILED
    assert seen == [("short",)]
    assert container.workers.alive() == ()


class Away(MemoryWorkerRegistry):
    """A registry that cannot be reached."""

    def unregister(self, worker_id: str) -> None:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")


def test_a_worker_that_cannot_take_itself_off_the_list_still_goes() -> None:
    say_goodbye(Away(clock=time.monotonic), describe_worker("short", host="h", ask=lambda _: "0"))


def test_a_fresh_interpreter_is_asked_what_this_process_must_not_touch() -> None:
    assert in_own_process("print(6 * 7)") == "42\n"


def test_a_worker_with_cuda_says_so() -> None:
    worker = describe_worker("training", host="h", ask=lambda _: "8589934592\n")
    assert worker.devices == ("cpu", "cuda")
    assert worker.cuda_memory_bytes == 8 * 2**30


def test_a_worker_without_cuda_says_so_too() -> None:
    worker = describe_worker("training", host="h", ask=lambda _: "0\n")
    assert worker.devices == ("cpu",)
    assert worker.pid == os.getpid()
    assert {"sentencepiece", "parquet"} == set(worker.extras)


@dataclass(frozen=True)
class Unavailable:
    """A kind of tokenizer whose library is missing."""

    name: str = "unavailable"
    title: str = "Not installed"
    spec: type[TokenizerSpec] = TokenizerSpec
    requires: tuple[str, ...] = ("no_such_module_anywhere",)
    extra: str = "worker"

    def example(self) -> JsonObject:
        return {}

    def backend(self) -> TokenizerBackend:
        raise AssertionError("must not be imported")


def test_what_jobs_need_is_imported_before_the_first_order_and_no_more() -> None:
    ours = Registry.discover(points=lambda _: [])
    preload(Registry(families=ours.families().values(), tokenizers=[Unavailable()]))
    preload(ours)
    assert {"torch", "torch._dynamo", "tokenizers"} <= sys.modules.keys()
