"""A process that has imported everything once and forks the stack's processes out of itself: a restart costs
milliseconds, not the four seconds torch takes to load.

`python -m tests.chaos.zygote`, driven by lines of JSON on its standard input (tests/chaos/nursery.py). It computes
nothing and has one thread: a tensor operation before the fork would hang every child. Orphans become its children, so
that nothing this stack started can get out of sight.
"""

import ctypes
import importlib
import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Protocol, TypedDict

from model_trainer.core.config import load_settings
from model_trainer.doors import LiveDoors
from model_trainer.infra.queue.parent_death import die_with_parent, load_process_control
from model_trainer.registry import Registry
from model_trainer.worker.preloading import preload
from tests.chaos.sabotage import work_badly

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
MODULES = (
    "model_trainer.api.main",
    "model_trainer.api.serve",
    "model_trainer.container",
    "model_trainer.inference_entry",
    "model_trainer.maintenance.run",
    "model_trainer.worker.train_model",
    "hypercorn.asyncio.run",
)


class Order(TypedDict):
    """One process to start."""

    role: str
    """api, worker, inference or maintenance."""
    argument: str
    """The API's port, the worker's queue."""
    sabotage: str
    """A worker's defect; empty: none."""
    env: dict[str, str]
    log: str


class _Libc(Protocol):
    def prctl(self, option: int, argument: int, /) -> int: ...


def main() -> None:
    """Imports, says so, and starts what it is told to until its input ends; then everything ends."""
    for name in MODULES:
        importlib.import_module(name)
    preload(Registry.discover())
    libc: _Libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - the kernel's list, not a folder of files
    if threads != 1:
        raise SystemExit(f"{threads} threads before the first fork: a child could hang for ever")
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    _say({"ready": os.getpid()})
    waiting = b""
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            _collect()
        if 0 in ready:
            read = os.read(0, 65_536)
            if not read:
                return
            *lines, waiting = (waiting + read).split(b"\n")
            for line in lines:
                order: Order = json.loads(line)
                _say({"started": _fork(order, inherited=(wake_read, wake_write))})


def _collect() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _say(message: dict[str, int]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _fork(order: Order, *, inherited: tuple[int, ...]) -> int:
    zygote = os.getpid()
    pid = os.fork()
    if pid != 0:
        return pid
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        die_with_parent(zygote, control=load_process_control())
        for descriptor in inherited:
            os.close(descriptor)
        _redirect(Path(order["log"]))
        os.environ.update(order["env"])
        _open_door(order)
        code = 0
    except BaseException:  # whatever it is: the zygote's own code must not run on in a child
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: Path) -> None:
    nowhere = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(nowhere, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nowhere)
    os.close(output)


def _open_door(order: Order) -> None:
    settings = load_settings(env_file=None)
    doors = LiveDoors()
    match order["role"]:
        case "api":
            doors.serve(settings, host="127.0.0.1", port=int(order["argument"]))
        case "worker" if order["sabotage"]:
            work_badly(settings, queue=order["argument"], how=order["sabotage"])
        case "worker":
            doors.work(settings, queue=order["argument"])
        case "inference":
            doors.answer(settings)
        case "maintenance":
            doors.maintain(settings)
        case _:
            raise SystemExit(f"no such role: {order['role']}")


if __name__ == "__main__":
    main()
