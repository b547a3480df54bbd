"""A worker process for tests: `python order_worker.py REDIS_URL MODE FOLDER`.

Modes say what an order does: `note` writes its payload, `hang` writes its process id and waits, `yield` waits for
SIGTERM and then ends well.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from model_trainer.core.config.settings import RqSettings
from model_trainer.infra.queue.serve import QueueServer


def note(folder: Path) -> Callable[[str], None]:
    def run(payload: str) -> None:
        with (folder / "payloads").open("a") as file:
            file.write(payload + "\n")

    return run


def hang(folder: Path) -> Callable[[str], None]:
    def run(payload: str) -> None:
        (folder / "pid.tmp").write_text(str(os.getpid()))
        (folder / "pid.tmp").rename(folder / "pid")
        while True:
            time.sleep(60)

    return run


def yield_on_request(folder: Path) -> Callable[[str], None]:
    def run(payload: str) -> None:
        def stop(_number: int, _frame: object) -> None:
            (folder / "yielded").write_text(payload)
            raise SystemExit

        signal.signal(signal.SIGTERM, stop)
        hang(folder)(payload)

    return run


MODES = {"note": note, "hang": hang, "yield": yield_on_request}

if __name__ == "__main__":
    url, mode, where = sys.argv[1:]
    beats = Path(where) / "beats"

    def beat() -> None:
        with beats.open("a") as file:
            file.write("x")

    QueueServer(
        redis_url=url,
        queue="training",
        settings=RqSettings(
            queue_name="training",
            short_queue_name="short",
            job_timeout_seconds=-1,
            result_ttl_seconds=60,
            failure_ttl_seconds=60,
            retry_max=0,
            retry_backoff_seconds=0,
        ),
        run=MODES[mode](Path(where)),
        on_heartbeat=beat,
        on_child_lost=lambda: None,
        stop_grace_seconds=10.0,
    ).serve()
