"""What followers of one run cost the API: memory and Redis subscriptions for N idle event streams. Prints JSON.

`python benchmarks/sse_followers.py [N]`: an API of its own over a Redis of its own, N streams opened from this process.
"""

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from redis import Redis

from model_trainer.container import live
from model_trainer.core.config import load_settings
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis

CHANNEL = "trainer:events"
SETTLE_SECONDS = 5.0


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def connected(port: int) -> socket.socket:
    """A connection, as soon as somebody listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def opened(port: int, run_id: str) -> socket.socket:
    """A stream past its first event."""
    wire = connected(port)
    wire.sendall(
        f"GET /runs/{run_id}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
    )
    came = b""
    while b"id: 1" not in came:
        chunk = wire.recv(65536)
        if not chunk:
            raise ConnectionError(came.decode(errors="replace"))
        came += chunk
    return wire


def measured(num_followers: int, folder: Path) -> dict[str, float | int | bool]:
    """Opens the streams and looks at the server."""
    (folder / "corpus").mkdir()
    (folder / "corpus" / "a.txt").write_text("one two three\n" * 200)
    with EmbeddedRedis(folder / "redis", overrides={"appendonly": "no"}) as server:
        environment = {
            **os.environ,
            "REDIS_URL": server.url,
            "APP__ARTIFACTS_ROOT": str(folder / "artifacts"),
            "APP__RUNS_ROOT": str(folder / "runs"),
            "APP__LOGS_ROOT": str(folder / "logs"),
            "APP__DATA_ROOT": str(folder / "corpus"),
        }
        os.environ.update(environment)
        container = live(load_settings(env_file=None))
        spec = container.registry.parse_tokenizer_spec(
            '{"method":"char","corpus_path":"a.txt","vocab_size":20}'
        )
        run_id = container.tokenizers.start(spec, request_id="r", idempotency=None).record.run_id
        port = free_port()
        arguments = ["--env-file", "", "serve", "--host", "127.0.0.1", "--port", str(port)]
        command = [sys.executable, "-m", "model_trainer", *arguments]
        api = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wires = [opened(port, run_id)]
            time.sleep(1.0)
            before = rss_bytes(api.pid)
            wires += [opened(port, run_id) for _ in range(num_followers - 1)]
            time.sleep(SETTLE_SECONDS)
            after, busy = rss_bytes(api.pid), cpu_seconds(api.pid)
            time.sleep(SETTLE_SECONDS)
            idle_share = (cpu_seconds(api.pid) - busy) / SETTLE_SECONDS
            with Redis.from_url(server.url) as client:
                subscriptions = int(dict(client.pubsub_numsub(CHANNEL)).get(CHANNEL.encode(), 0))
            for wire in wires:
                wire.close()
        finally:
            api.terminate()
            api.wait(20)
    megabytes = (after - before) / 1e6
    return {
        "followers": num_followers,
        "redis_subscriptions": subscriptions,
        "extra_rss_mb": round(megabytes, 1),
        "kb_per_follower": round(megabytes * 1000 / max(1, num_followers - 1), 1),
        "idle_cpu_share": round(idle_share, 3),
        "within_target": subscriptions == 1 and megabytes < 60,
    }


def main() -> int:
    """Prints the measurement; 1 when it misses the target."""
    num_followers = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        found = measured(num_followers, Path(folder))
    print(json.dumps(found))
    return 0 if found["within_target"] else 1


if __name__ == "__main__":
    sys.exit(main())
