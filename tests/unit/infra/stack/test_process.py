"""Children go when asked, go when they do not want to, and go when we are killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_trainer.core.config.settings import process_environment
from model_trainer.infra.stack.process import last_lines, spawn, stop

IGNORES_SIGTERM = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
HAS_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def wait_for_text(log_file: Path) -> str:
    deadline = time.monotonic() + 20
    while not (log_file.exists() and log_file.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "the child said nothing"
        time.sleep(0.005)
    return log_file.read_text().strip()


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.005)


def test_a_child_that_listens_to_sigterm_ends_by_it(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    process = spawn(
        python("print('up', flush=True); import time; time.sleep(60)"),
        env=process_environment(),
        log_file=log_file,
    )
    assert wait_for_text(log_file) == "up"

    assert stop(process, grace_seconds=20) == -15


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    process = spawn(python(IGNORES_SIGTERM), env=process_environment(), log_file=log_file)
    wait_for_text(log_file)

    assert stop(process, grace_seconds=0.05) == -9


def test_what_a_child_started_goes_with_it(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    process = spawn(python(HAS_A_CHILD), env=process_environment(), log_file=log_file)
    grandchild = int(wait_for_text(log_file))

    stop(process, grace_seconds=20)

    wait_until_gone(grandchild)


def test_stopping_a_child_that_has_gone_gives_its_exit_code() -> None:
    process = spawn(python("raise SystemExit(7)"), env=process_environment(), log_file=None)
    process.wait()

    assert stop(process, grace_seconds=1) == 7


def test_a_child_sees_the_environment_it_was_given_and_no_other(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    process = spawn(
        python("import os; print(os.environ.get('COLOUR'), 'HOME' in os.environ)"),
        env={"COLOUR": "blue"},
        log_file=log_file,
    )
    process.wait()

    assert log_file.read_text() == "blue False\n"


def test_a_child_inherits_only_the_files_it_is_given(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    code = "import os, sys\nfor each in sys.argv[1:]:\n  try: os.fstat(int(each)); print('open')\n  except OSError: print('shut')"
    with (tmp_path / "given").open("w") as given, (tmp_path / "kept").open("w") as kept:
        argv = (*python(code), str(given.fileno()), str(kept.fileno()))
        spawn(argv, env={}, log_file=log_file, keep_open=(given.fileno(),)).wait()

    assert log_file.read_text().split() == ["open", "shut"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from model_trainer.infra.stack.process import spawn\n"
        "spawn([sys.executable, '-S', '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'],"
        " env={}, log_file=Path(sys.argv[1]))\n"
        "time.sleep(60)\n"
    )
    env = {**process_environment(), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.Popen([sys.executable, "-c", code, str(log_file)], env=env)
    child = int(wait_for_text(log_file))

    parent.kill()
    parent.wait()

    wait_until_gone(child)


def test_the_end_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    log_file.write_text("".join(f"line {number}\n" for number in range(5000)))

    assert last_lines(log_file, count=2) == "line 4998\nline 4999"


def test_no_log_has_no_end(tmp_path: Path) -> None:
    assert last_lines(None) == ""
    assert last_lines(tmp_path / "missing") == ""
