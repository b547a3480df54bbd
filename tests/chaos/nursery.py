"""The zygote, seen from the harness: start this, tell me who has ended."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from model_trainer.core.config.settings import process_environment
from model_trainer.infra.stack.tether import tethered
from tests.chaos.processes import Process, descendants

IMPORT_SECONDS = 120.0


class Nursery:
    """Starts the stack's processes. Use it as a context manager: afterwards none of them is left."""

    def __init__(self, log: Path) -> None:
        """Nothing is started yet; `log` takes what the zygote says of itself."""
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._read = b""
        self._ended: dict[int, int] = {}

    def __enter__(self) -> Self:
        """Returns when everything is imported."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                tethered([sys.executable, "-m", "tests.chaos.zygote"]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                # One thread to a process, also for what libraries start while they are imported.
                env={**process_environment(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self._await("ready", timeout_seconds=IMPORT_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the zygote; the kernel ends its children with it."""
        process = self._running()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        process.kill()
        process.wait()

    def start(
        self, role: str, argument: str, *, env: Mapping[str, str], log: Path, sabotage: str = ""
    ) -> int:
        """Forks a process; its id."""
        order = {
            "role": role,
            "argument": argument,
            "sabotage": sabotage,
            "env": dict(env),
            "log": str(log),
        }
        pipe = self._running().stdin
        assert pipe is not None
        pipe.write(json.dumps(order).encode() + b"\n")
        return self._await("started", timeout_seconds=30.0)

    def ended(self) -> dict[int, int]:
        """Exit codes of the processes that have ended, by id: all so far."""
        while self._readable(0.0):
            self._take()
        return self._ended

    def living(self) -> dict[int, Process]:
        """Every process that came out of the zygote and has not ended."""
        return descendants(self._running().pid)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _await(self, word: str, *, timeout_seconds: float) -> int:
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self._readable(0.1):
                answer = self._take().get(word)
                if answer is not None:
                    return answer
        raise AssertionError(f"the zygote never said {word!r}: see {self._log}")

    def _readable(self, timeout_seconds: float) -> bool:
        if b"\n" in self._read:
            return True
        pipe = self._running().stdout
        assert pipe is not None
        ready, _, _ = select.select([pipe], [], [], timeout_seconds)
        if ready:
            read = os.read(pipe.fileno(), 65_536)
            if not read:
                raise AssertionError(f"the zygote has ended: see {self._log}")
            self._read += read
        return b"\n" in self._read

    def _take(self) -> dict[str, int]:
        line, _, self._read = self._read.partition(b"\n")
        message: dict[str, int] = json.loads(line)
        if "ended" in message:
            self._ended[message["ended"]] = message["code"]
        return message
