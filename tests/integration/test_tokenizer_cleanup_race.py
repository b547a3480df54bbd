"""A training that names a tokenizer, and a clean-up that removes it, at the same moment: one of them wins, whole."""

import threading
import time
from pathlib import Path

import pytest
from redis import Redis
from starlette.testclient import TestClient

from model_trainer.api.main import create_app
from model_trainer.container import live
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.contracts.run import Outcome, RunKind, RunQuery, RunStatus
from model_trainer.core.errors import AppError
from model_trainer.maintenance.chores import tokenizer_cleaner
from tests.contract.run_stores import new_run

ROUNDS = 40
STEP_SECONDS = 0.0005


class House:
    """A service over a real Redis, whose unused tokenizers are old at once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.container = live(settings)
        self.client = TestClient(create_app(self.container))
        settings.app.data_root.mkdir(parents=True)
        (settings.app.data_root / "a.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 400)

    def tokenizer(self) -> str:
        """A completed one."""
        run = new_run(
            kind=RunKind.TOKENIZER,
            queue="short",
            family="char",
            spec={"method": "char", "corpus_path": "a.txt"},
            user_id=None,
        )
        runs = self.container.runs
        runs.submit(run, idempotency=None)
        lease = runs.claim(run.run_id, epoch=0, owner="w", host="h", lease_seconds=60)
        assert lease is not None
        result: dict[str, object] = {"info": {"vocab_size": 60}}
        outcome = Outcome.model_validate({"status": "completed", "message": "Done.", "result": result})
        record = runs.finish(lease, outcome)
        self.container.artifacts.keep_record(record)
        (self.container.artifacts.create("tokenizers", run.run_id) / "tokenizer.json").write_text("{}")
        return run.run_id

    def order(self, tokenizer_id: str) -> str | None:
        """The training that was ordered; None where it was refused, as it has to be: naming the field."""
        body = {"model_family": "gpt2", "corpus_path": "a.txt", "tokenizer_id": tokenizer_id}
        answer = self.client.post("/runs/train", json=body)
        said = answer.json()
        if answer.status_code == 202:
            return str(said["run_id"])
        assert said["code"] in ("TOKENIZER_NOT_FOUND", "CONFIG_INVALID")
        assert [error["pointer"] for error in said["errors"]] == ["/tokenizer_id"]
        return None

    def clean(self) -> None:
        tokenizer_cleaner(self.container, dry_run=False).clean()

    def at_once(self, tokenizer_id: str, *, cleaner_waits_seconds: float) -> str | None:
        """What came of an order, with a clean-up beside it that begins a moment earlier or later."""
        begin = threading.Barrier(2)

        def clean() -> None:
            begin.wait()
            time.sleep(max(0.0, cleaner_waits_seconds))
            self.clean()

        cleaning = threading.Thread(target=clean)
        cleaning.start()
        begin.wait()
        time.sleep(max(0.0, -cleaner_waits_seconds))
        answer = self.order(tokenizer_id)
        cleaning.join()
        return answer

    def trainings(self) -> set[str]:
        page = self.container.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=1000))
        return {record.run_id for record in page.records}

    def is_whole(self, tokenizer_id: str) -> bool:
        """Whether the tokenizer is there with all that belongs to it; half of it fails."""
        try:
            is_known = self.container.runs.get(tokenizer_id).status is RunStatus.COMPLETED
        except AppError:
            is_known = False
        assert self.container.artifacts.exists("tokenizers", tokenizer_id) is is_known
        assert (self.settings.app.runs_root / tokenizer_id).exists() is is_known
        return is_known

    def traces_in_redis(self, item_id: str) -> list[str]:
        """What of ours is left of an item; its order stays in the queue, which nobody has served here."""
        with Redis.from_url(self.settings.redis_url.get_secret_value(), decode_responses=True) as client:
            return [key for key in client.scan_iter(f"*{item_id}*") if not key.startswith("rq:")]


@pytest.fixture
def house(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("APP__TOKENIZER_CLEANUP__MIN_UNUSED_DAYS", "0")
    for name in ("ARTIFACTS_ROOT", "RUNS_ROOT", "LOGS_ROOT", "DATA_ROOT"):
        monkeypatch.setenv(f"APP__{name}", str(tmp_path / name.lower()))
    return House(load_settings(env_file=None))


def test_an_order_before_the_clean_up_keeps_the_tokenizer(house: House) -> None:
    tokenizer_id = house.tokenizer()

    assert house.order(tokenizer_id) is not None
    house.clean()

    assert house.is_whole(tokenizer_id)


def test_an_order_after_the_clean_up_is_told_that_it_has_gone(house: House) -> None:
    tokenizer_id = house.tokenizer()

    house.clean()

    assert house.order(tokenizer_id) is None
    assert not house.is_whole(tokenizer_id)
    assert house.trainings() == set()
    assert house.traces_in_redis(tokenizer_id) == []
    assert list(house.settings.app.runs_root.iterdir()) == []


def test_at_the_same_moment_one_of_them_wins_whole(house: House) -> None:
    started: dict[str, str] = {}
    for each in range(ROUNDS):
        tokenizer_id = house.tokenizer()
        run_id = house.at_once(tokenizer_id, cleaner_waits_seconds=(each - ROUNDS // 2) * STEP_SECONDS)

        assert house.is_whole(tokenizer_id) is (run_id is not None)
        if run_id is None:
            assert house.traces_in_redis(tokenizer_id) == []
        else:
            started[run_id] = tokenizer_id

    assert house.trainings() == set(started)
    kept = {path.name for path in house.settings.app.runs_root.iterdir()}
    assert kept == set(started) | set(started.values())
