"""What the inference process puts together, without a process of its own."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from model_trainer.core.config import Settings, load_settings
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import ErrorCode
from model_trainer.inference_entry import answer_questions
from model_trainer.worker.inference.frames import Batch, Done, Refused, parse_frame
from tests.unit.worker.inference.bench import order_of, request


class Line:
    """A pipe whose other end asks once and hangs up."""

    def __init__(self, batch: Batch) -> None:
        self._batches = [batch]
        self.said: list[object] = []

    def recv_bytes(self) -> bytes:
        if not self._batches:
            raise EOFError
        return self._batches.pop().model_dump_json().encode()

    def send_bytes(self, data: bytes, /) -> None:
        self.said.append(parse_frame(data))


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    settings = load_settings(env_file=None)
    roots = {
        "artifacts_root": tmp_path / "artifacts",
        "runs_root": tmp_path / "runs",
        "data_root": tmp_path / "corpus",
    }
    return settings.model_copy(
        update={"redis_url": SecretStr(redis_url), "app": settings.app.model_copy(update=roots)}
    )


def test_a_question_about_a_run_that_is_not_there_is_refused_and_the_next_one_heard(
    settings: Settings,
) -> None:
    order = order_of(request(run_id=new_ulid()))
    line = Line(Batch(orders=(order,)))
    answer_questions(settings, "worker-1", line)
    refused, done = line.said
    assert isinstance(refused, Refused)
    assert (refused.request_id, refused.problem.code) == (order.request_id, ErrorCode.ARTIFACT_NOT_FOUND)
    assert isinstance(done, Done)
