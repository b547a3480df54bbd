"""How much memory the API takes while large files go up and down: its largest resident size, by size of the file.

    .venv/bin/python benchmarks/artifact_memory.py [--megabytes 100 500 2000] [--report FILE] [--quick]

An API of its own in a process of its own, over a Redis and a store of its own; files go up through POST /files and down
through GET /files/{file_id}. The target is less than 64 MB more than before, however large the file; 1 is the exit code
where one misses it.
"""

import argparse
import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from model_trainer.infra.stack.embedded_redis import EmbeddedRedis

TARGET_MB = 64.0
PIECE_BYTES = 1 << 20
PATIENCE_SECONDS = 600.0
START_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """An API that answers."""

    url: str
    pid: int

    def resident_mb(self) -> float:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 1e6

    def forget_peak(self) -> None:
        """From here on the peak is counted anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def peak_mb(self) -> float:
        """The largest resident memory since the peak was forgotten."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(kilobytes) * 1024 / 1e6


@dataclass(frozen=True)
class Row:
    """One file, up and down."""

    megabytes: int
    before_mb: float
    up_extra_mb: float
    """Peak while it went up, beyond what the server had before."""
    down_extra_mb: float
    after_mb: float
    up_mb_per_second: float
    down_mb_per_second: float


def main() -> int:
    """Prints a table and the JSON; 1 when a file misses the target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 500, 2000], metavar="MB")
    parser.add_argument("--report", type=Path, help="write the JSON here too")
    parser.add_argument("--quick", action="store_true", help="one file of 20 MB: does it run?")
    arguments = parser.parse_args()
    sizes: list[int] = [20] if arguments.quick else arguments.megabytes
    with tempfile.TemporaryDirectory(prefix="memory-") as folder, served(Path(folder)) as server:
        moved(server, 1)  # what is imported and allocated at the first request is nobody's file
        rows = [moved(server, megabytes) for megabytes in sizes]
    print(
        f"{'MB':>6} {'before':>8} {'up':>8} {'down':>8} {'after':>8}   (MB resident; up, down: peak beyond before)"
    )
    for row in rows:
        print(
            f"{row.megabytes:6} {row.before_mb:8.1f} {row.up_extra_mb:+8.1f} {row.down_extra_mb:+8.1f}"
            f" {row.after_mb:8.1f}   {row.up_mb_per_second:.0f} MB/s up, {row.down_mb_per_second:.0f} MB/s down"
        )
    worst = max(max(row.up_extra_mb, row.down_extra_mb) for row in rows)
    found = {
        "benchmark": "artifact_memory",
        "rows": [{name: round(value, 1) for name, value in asdict(row).items()} for row in rows],
        "worst_extra_mb": round(worst, 1),
        "within_target": worst < TARGET_MB,
    }
    print(json.dumps(found))
    if arguments.report is not None:
        arguments.report.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if found["within_target"] else 1


def moved(server: Server, megabytes: int) -> Row:
    """Sends a file, and fetches it again."""
    before = server.resident_mb()
    with httpx.Client(base_url=server.url, timeout=PATIENCE_SECONDS) as client:
        server.forget_peak()
        began = time.monotonic()
        answer = client.post("/files", content=pieces(megabytes))
        up_seconds, up = time.monotonic() - began, server.peak_mb() - before
        answer.raise_for_status()
        file_id = str(answer.json()["file_id"])

        server.forget_peak()
        began = time.monotonic()
        digest = hashlib.sha256()
        with client.stream("GET", f"/files/{file_id}") as coming:
            coming.raise_for_status()
            for piece in coming.iter_raw():
                digest.update(piece)
        down_seconds, down = time.monotonic() - began, server.peak_mb() - before
        if digest.hexdigest() != file_id:
            raise ValueError("the file came back as another one")
        client.delete(f"/files/{file_id}").raise_for_status()
    return Row(
        megabytes=megabytes,
        before_mb=before,
        up_extra_mb=up,
        down_extra_mb=down,
        after_mb=server.resident_mb(),
        up_mb_per_second=megabytes * 1.048576 / up_seconds,
        down_mb_per_second=megabytes * 1.048576 / down_seconds,
    )


def pieces(megabytes: int) -> Iterator[bytes]:
    """A file of so many mebibytes, no two of them alike."""
    noise = os.urandom(PIECE_BYTES - 8)
    for each in range(megabytes):
        yield each.to_bytes(8, "big") + noise


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    """An API in a process of its own."""
    with EmbeddedRedis(folder / "redis", overrides={"appendonly": "no"}) as redis:
        environment = {
            **os.environ,
            "REDIS_URL": redis.url,
            **{
                f"APP__{name}_ROOT": str(folder / name.lower())
                for name in ("ARTIFACTS", "RUNS", "LOGS", "DATA")
            },
        }
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        arguments = ["--env-file", "", "serve", "--host", "127.0.0.1", "--port", str(port)]
        command = [sys.executable, "-m", "model_trainer", *arguments]
        api = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            server = Server(url=f"http://127.0.0.1:{port}", pid=api.pid)
            wait_for(server)
            yield server
        finally:
            api.terminate()
            api.wait(30)


def wait_for(server: Server) -> None:
    """Returns when the API answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(f"{server.url}/healthz").raise_for_status()
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
