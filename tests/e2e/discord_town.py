"""A whole installation for the bot's end-to-end tests: Redis, API and workers, and the bot's real command as a process."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from model_trainer.client import TrainerClient
from model_trainer.core.config.settings import process_environment
from model_trainer.core.contracts.base import JsonObject
from model_trainer.infra.stack.process import last_lines, spawn, stop
from tests.chaos.nursery import Nursery
from tests.chaos.processes import kill
from tests.chaos.stack import Stack
from tests.e2e.discord_standin import PATIENCE_SECONDS, TOKEN, StandIn
from tests.e2e.discord_world import OWNER_ID

API_KEY = "key-of-the-api-0123456789"
CORPUS = "ledger-of-the-vault.txt"
WORDS = ("quagmire", "xylophone", "zephyr", "obelisk", "marzipan", "juggernaut", "labyrinth")
TEXT = "".join(f"{WORDS[n % 7]} {WORDS[(n * n) % 7]} {WORDS[(n * 3 + n // 7) % 7]}.\n" for n in range(600))
"""Words that nobody says by chance."""
FAMILY = "char_lstm"
SIZE: JsonObject = {"num_layers": 1, "hidden_size": 16, "embedding_size": 8, "cpu_threads": 1}
ROWS: JsonObject = {"log_every_steps": 5, "eval_every_steps": 20}
SHAPE: JsonObject = {"max_seq_len": 16, "batch_size": 4, "device": "cpu", "precision": "fp32"}
SHORT, LONG = 60, 1_000_000
"""Steps of a run that ends by itself within a second, and of one that somebody has to stop."""


class LockedStack(Stack):
    """The service with an API that asks for a key."""

    def new_client(self) -> TrainerClient:
        """A client with the key."""
        self._env["SECURITY__API_KEY"] = API_KEY
        return TrainerClient(f"http://127.0.0.1:{self._port}", api_key=API_KEY, timeout_seconds=10.0)

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return f"http://127.0.0.1:{self._port}"

    def bot_environment(self) -> dict[str, str]:
        """What the bot is told of this installation."""
        return {**process_environment(), **self._env, "API_BASE_URL": self.api_url}


class Bot:
    """`model-trainer discord` in a process of its own, at the log level that tells most."""

    def __init__(self, stack: LockedStack, discord: StandIn, *, token: str = TOKEN) -> None:
        """Not started.

        Args:
            stack: the service it works with.
            discord: what it takes for Discord.
            token: DISCORD_TOKEN.
        """
        self.log = stack.folder / "logs" / "bot.out"
        self._process: subprocess.Popen[bytes] | None = None
        self._discord = discord
        self._env = stack.bot_environment() | {
            "DISCORD_TOKEN": token,
            "DISCORD_OWNER_ID": OWNER_ID,
            "LOGGING__LEVEL": "DEBUG",
        }

    def start(self) -> None:
        """Returns when the process is there; wait for the stand-in to see more of it."""
        argv = [
            sys.executable,
            "-m",
            "tests.e2e.discord_launcher",
            self._discord.api_url,
            self._discord.gateway_url,
        ]
        self._process = spawn([*argv, "--env-file", "", "discord"], env=self._env, log_file=self.log)

    def start_and_wait(self) -> None:
        """Returns when it is connected."""
        sessions = len(self._discord.gateway.sessions)
        self.start()
        try:
            self._discord.wait_until_connected(sessions=sessions + 1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{last_lines(self.log, count=30)}") from None

    def kill(self) -> None:
        """SIGKILL."""
        process = self._running()
        process.kill()
        process.wait()

    def stop(self) -> int:
        """SIGTERM, as every service gets it; its exit code."""
        return stop(self._running(), grace_seconds=20.0)

    def wait(self) -> int:
        """Until it ends by itself; its exit code."""
        return self._running().wait(PATIENCE_SECONDS)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError("the bot was never started")
        return self._process


class Town:
    """The service, and what its people do besides Discord."""

    def __init__(self, stack: LockedStack) -> None:
        """Trains a tokenizer; the stack runs already."""
        self.stack = stack
        self.client = stack.client
        (stack.folder / "corpus" / CORPUS).write_text(TEXT)
        order: JsonObject = {"method": "char", "corpus_path": CORPUS, "vocab_size": 60}
        self.tokenizer_id = self.client.train_tokenizer(order).tokenizer_id
        wait_until(lambda: self.client.tokenizer(self.tokenizer_id).status == "completed", "the tokenizer")

    def order(self, *, steps: int, user_id: str | None = OWNER_ID) -> str:
        """A training that somebody orders elsewhere; its id."""
        whose: JsonObject = {} if user_id is None else {"user_id": user_id}
        what: JsonObject = {"model_family": FAMILY, "corpus_path": CORPUS, "tokenizer_id": self.tokenizer_id}
        spec: JsonObject = {**what, **SIZE, **ROWS, **SHAPE, "max_steps": steps, **whose}
        return self.client.train(spec).run_id

    @contextmanager
    def long_run(self, *, user_id: str | None = OWNER_ID) -> Iterator[str]:
        """Inside, a training runs; afterwards it has ended."""
        run_id = self.order(steps=LONG, user_id=user_id)
        try:
            wait_until(lambda: self.client.run(run_id).progress.step > 0, "the run to be under way")
            yield run_id
        finally:
            self.end(run_id)

    def end(self, run_id: str) -> None:
        """Cancels a run that has not ended; returns when it has."""
        if self.client.run(run_id).status not in ("completed", "cancelled", "failed"):
            self.client.cancel(run_id)
        wait_until(lambda: self.client.run(run_id).status in ("completed", "cancelled"), "the run to end")

    def forget_what_is_watched(self) -> None:
        """As if no bot had ever been here."""
        with Redis.from_url(self.stack.redis.url) as redis:
            for key in redis.scan_iter("discord:*"):
                redis.delete(key)

    def let_the_hold_run_out(self) -> None:
        """The time of a bot that was killed has passed."""
        with Redis.from_url(self.stack.redis.url) as redis:
            redis.delete("discord:holder")

    def take_api_away(self) -> None:
        """Kills the API."""
        (pid,) = self.stack.targets("api")
        self.stack.strike("api", pid, down_seconds=3600.0)

    def bring_api_back(self) -> None:
        """Starts it again; returns when it answers."""
        self.stack.members["api"].restart_at = time.monotonic()
        self.stack.look_after()
        wait_until(self.client.is_ready, "the API to come back")

    @contextmanager
    def api_hanging(self) -> Iterator[None]:
        """Inside, the API takes requests and answers none."""
        (pid,) = self.stack.targets("api")
        kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            kill(pid, signal.SIGCONT)

    def secrets(self) -> list[str]:
        """What must never be said on Discord."""
        workers = [worker.worker_id for worker in self.stack.container.workers.alive()]
        return [
            TOKEN,
            API_KEY,
            CORPUS,
            str(self.stack.folder),
            "redis.sock",
            self.stack.api_url,
            *WORDS,
            *workers,
        ]

    def log_files(self) -> list[Path]:
        """Everything that this installation has logged."""
        return [path for path in (self.stack.folder / "logs").rglob("*") if path.is_file()]


@contextmanager
def town_in(folder: Path) -> Iterator[Town]:
    """A town over a folder."""
    with Nursery(folder / "zygote.log") as nursery, LockedStack(folder, nursery) as stack:
        yield Town(stack)


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Returns when it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_SECONDS} s in vain for {what}")
        time.sleep(0.02)


def nothing_leaked(town: Town, discord: StandIn) -> None:
    """Nothing that was sent to Discord holds a secret, Discord refused nothing, and no log file holds the token."""
    secrets = [secret.encode() for secret in town.secrets()]
    for request in discord.requests:
        sent = request.path.encode() + request.query.encode() + request.body
        assert not [secret for secret in secrets if secret in sent], (
            f"{request.method} {request.path}: {sent!r}"
        )
    assert not discord.world.refusals
    for path in town.log_files():
        logged = path.read_bytes()
        assert TOKEN.encode() not in logged, path
        assert API_KEY.encode() not in logged, path
