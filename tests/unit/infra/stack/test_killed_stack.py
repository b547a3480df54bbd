"""A stack that is killed as a whole leaves no process, and the next one finds what was acknowledged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from model_trainer.core.config.settings import process_environment
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from model_trainer.infra.stack.supervisor import Supervisor, in_background

STACK = """
import sys, threading
from pathlib import Path
from model_trainer.core.config.settings import process_environment
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from model_trainer.infra.stack.supervisor import Supervisor
state = Path(sys.argv[1])
redis = EmbeddedRedis(state / "redis")
Supervisor([redis.process_spec(process_environment())], state, lambda name, pid: print(pid, file=sys.stderr, flush=True)).run(
    threading.Event()
)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_stack_killed_by_force_starts_again_with_its_data(tmp_path: Path) -> None:
    environment = {**process_environment(), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    first = subprocess.Popen(
        [sys.executable, "-c", STACK, str(tmp_path)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    redis = EmbeddedRedis(tmp_path / "redis")
    try:
        assert first.stderr is not None
        server = int(first.stderr.readline())
        with Redis.from_url(redis.url) as client:
            client.set("run", "queued")
    finally:
        first.kill()
        first.communicate()

    # The lock is free only once the server of the killed stack has gone too.
    ups: list[int] = []
    specs = [redis.process_spec(process_environment())]
    with (
        in_background(Supervisor(specs, tmp_path, lambda _name, pid: ups.append(pid))),
        Redis.from_url(redis.url) as client,
    ):
        assert client.get("run") == b"queued"
        assert ups != [server]
        assert not is_alive(server)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
