"""Streams over real sockets: many followers cost one subscription, and an API that is killed loses no event."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from model_trainer.client import TrainerClient
from model_trainer.container import Container, live
from model_trainer.core.config import load_settings
from model_trainer.core.contracts.events import JobProgress
from model_trainer.core.contracts.run import Lease, Outcome, Phase, Progress, RunStatus, RunUpdate
from tests.unit.api.servers import free_port, hypercorn, wait_until_open

FOLLOWERS = 50
KILLS = 2


@dataclass
class House:
    """A container over the test's Redis, a run that is being worked on, and who follows it."""

    container: Container
    lease: Lease
    seen: list[list[str]]
    readers: list[threading.Thread] = field(default_factory=list)

    def tell(self, number: int = 1) -> None:
        """That much news of the run."""
        news = JobProgress(
            job_id=self.lease.run_id, user_id=None, phase=Phase.TRAINING, message="", progress=Progress()
        )
        for _ in range(number):
            self.container.runs.heartbeat(self.lease, RunUpdate(), (news,))

    def follow(self, port: int, number: int) -> None:
        """Readers that come back whenever their stream breaks."""

        def read(seen: list[str]) -> None:
            with TrainerClient(f"http://127.0.0.1:{port}") as client:
                events = client.follow_events(self.lease.run_id)
                seen.extend(event.name if event.id is None else event.id for event in events)

        self.seen = [[] for _ in range(number)]
        self.readers = [threading.Thread(target=read, args=[seen], daemon=True) for seen in self.seen]
        for reader in self.readers:
            reader.start()

    def end(self) -> None:
        """The run is over, and so are its readers: one that came back to a server that has gone would fail."""
        self.container.runs.finish(self.lease, Outcome(status=RunStatus.CANCELLED, message="Over."))
        for reader in self.readers:
            reader.join(20)
            assert not reader.is_alive()

    def wait_for(self, number: int) -> None:
        """Returns when every reader has this many events."""
        deadline = time.monotonic() + 30
        while min(map(len, self.seen)) < number:
            assert time.monotonic() < deadline, [len(seen) for seen in self.seen]
            time.sleep(0.02)


@pytest.fixture
def house(redis_url: str, tmp_path: Path) -> House:
    settings = load_settings(env_file=None)
    roots = {name: tmp_path / name for name in ("artifacts_root", "runs_root", "logs_root", "data_root")}
    app = settings.app.model_copy(update=roots)
    container = live(settings.model_copy(update={"redis_url": SecretStr(redis_url), "app": app}))
    spec = container.registry.parse_tokenizer_spec('{"method": "char", "corpus_path": "a", "vocab_size": 20}')
    record = container.tokenizers.start(spec, request_id="r", idempotency=None).record
    lease = container.runs.claim(record.run_id, epoch=record.epoch, owner="w", host="h", lease_seconds=600)
    assert lease is not None
    return House(container, lease, [])


def test_fifty_followers_share_one_subscription_and_lost_messages_lose_no_event(
    house: House, redis_url: str
) -> None:
    with hypercorn(house) as running, Redis.from_url(redis_url) as redis:
        house.follow(running.port, FOLLOWERS)
        house.wait_for(2)
        assert redis.pubsub_numsub("trainer:events") == [(b"trainer:events", 1)]
        assert len(redis.client_list(_type="pubsub")) == 1
        for count in range(3, 8):
            redis.client_kill_filter(_type="pubsub", skipme=True)
            house.tell()
            house.wait_for(count)
        assert all(seen == [str(seq) for seq in range(1, 8)] for seen in house.seen)
        house.end()


def test_an_api_that_is_killed_mid_stream_loses_and_repeats_no_event(
    house: House, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    environment = {**os.environ, "REDIS_URL": redis_url} | {
        f"APP__{name.upper()}": str(tmp_path / name) for name in ("artifacts_root", "runs_root", "data_root")
    }
    command = [sys.executable, "-m", "model_trainer", "--env-file", "", "serve", "--port", str(port)]
    house.seen = []
    for turn in range(KILLS + 1):
        api = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until_open(port)
            if turn == 0:
                house.follow(port, 3)
            house.tell(5)
            house.wait_for(2 + 10 * turn + 5)
            if turn < KILLS:
                house.tell(5)
            else:
                house.end()
        finally:
            api.send_signal(signal.SIGKILL)
            api.wait(20)

    told = 2 + 10 * KILLS + 5
    for seen in house.seen:
        assert seen[:told] == [str(seq) for seq in range(1, told + 1)]
