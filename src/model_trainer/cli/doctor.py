"""What this machine has, what is missing, how to fix it. Imports no torch: that is asked for in a process of its own."""

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal, assert_never

import typer
from rich.table import Table
from rich.text import Text

from model_trainer.cli.output import printable
from model_trainer.cli.session import Session
from model_trainer.core.compute.machine import (
    computes_bf16,
    cpu_flags,
    cpu_model,
    hostname,
    physical_memory_bytes,
    usable_cpus,
)
from model_trainer.core.config import Settings
from model_trainer.core.contracts.base import parse_json_object
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX

State = Literal["ok", "note", "missing"]
"""missing: something essential; note: works, but worth knowing."""
STYLES: dict[State, str] = {"ok": "green", "note": "yellow", "missing": "bold red"}
GIGABYTE = 1 << 30
SMALL_MEMORY_BYTES = 4 * GIGABYTE
ALIKE = "All workers of one queue must be alike; machines that differ get another RQ__QUEUE_NAME."
WORKER_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "onnx",
    "onnxruntime",
    "matplotlib",
)
DISCORD_PACKAGE = "discord.py"
EXTRAS = (
    ("sentencepiece", "sentencepiece"),
    ("parquet", "pyarrow"),
    ("s3", "obstore"),
    ("discord", DISCORD_PACKAGE),
)
"""Each with the package it brings first of all."""
TORCH_QUESTION = """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}))
"""

RunProgram = Callable[[Sequence[str]], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    subject: str
    state: State
    found: str
    fix: str = ""


def examine(session: Session) -> None:
    """Shows all findings; exits with 1 when something essential is missing."""
    findings = list(look_around(session))
    session.output.show(
        [
            {"subject": one.subject, "state": one.state, "found": one.found, "fix": one.fix}
            for one in findings
        ],
        render=lambda: _table(findings),
    )
    if any(one.state == "missing" for one in findings):
        raise typer.Exit(1)


def look_around(session: Session) -> Iterator[Finding]:
    """Every finding, the basics first."""
    yield look_at_python((sys.version_info.major, sys.version_info.minor, sys.version_info.micro))
    yield look_at_system(sys.platform)
    yield from look_at_processor(cpu_flags(), memory_bytes=physical_memory_bytes())
    yield from look_at_packages(version_of)
    yield look_at_torch(session.ways.run_program)
    try:
        settings = session.settings()
    except AppError as error:
        yield Finding(
            "settings",
            "missing",
            error.message,
            "Correct the variable, here or in .env; .env.example explains each.",
        )
        return
    yield Finding("settings", "ok", "valid")
    yield look_at_redis(session, settings)
    yield from look_at_folders(settings)
    yield look_at_host(settings)
    yield look_at_locks(settings)
    yield look_at_store(session, settings)
    yield look_at_inference(settings, memory_bytes=physical_memory_bytes())
    yield look_at_api(session)
    yield look_at_discord(session, settings, has_library=version_of(DISCORD_PACKAGE) is not None)


def look_at_python(running: tuple[int, int, int]) -> Finding:
    """3.11 or newer."""
    found = ".".join(map(str, running))
    if running < (3, 11, 0):
        return Finding(
            "Python", "missing", found, "Install Python 3.11 or newer and make the environment anew."
        )
    return Finding("Python", "ok", found)


def look_at_system(platform: str) -> Finding:
    """Workers fork; Windows cannot."""
    match platform:
        case "linux":
            return Finding("system", "ok", "Linux")
        case "darwin":
            return Finding(
                "system",
                "note",
                "macOS: runs on the CPU; a worker that is killed outright may leave its job running",
                "For CUDA, or where that matters, use Linux, a machine or a container (docker compose --profile dev up -d --build).",
            )
        case "win32":
            return Finding(
                "system",
                "note",
                "Windows: workers need fork, which Windows does not have",
                "Run the services in Docker Desktop (docker compose --profile dev up -d --build) or in WSL; the client commands work here.",
            )
        case _:
            return Finding("system", "note", platform, "Not tried; Linux is.")


def look_at_processor(flags: frozenset[str], *, memory_bytes: int) -> Iterator[Finding]:
    """Cores, bf16, memory."""
    yield Finding("processor", "ok", f"{cpu_model()}, {usable_cpus()} usable")
    if computes_bf16(flags):
        yield Finding("bf16", "ok", "native on this CPU: precision auto uses it")
    else:
        yield Finding("bf16", "ok", "not native on this CPU: precision auto uses fp32")
    found = f"{memory_bytes / GIGABYTE:.1f} GiB"
    if memory_bytes == 0:
        yield Finding("memory", "note", "cannot be told here")
    elif memory_bytes < SMALL_MEMORY_BYTES:
        yield Finding("memory", "note", found, "Enough for small models only.")
    else:
        yield Finding("memory", "ok", found)


def look_at_packages(lookup: Callable[[str], str | None]) -> Iterator[Finding]:
    """The extras of the installation."""
    missing = [name for name in WORKER_PACKAGES if lookup(name) is None]
    if missing:
        yield Finding(
            "worker packages",
            "missing",
            f"without {', '.join(missing)}",
            'pip install -c constraints.txt -e ".[worker]" (or: make demo). Where only the API or the Discord bot runs, do without.',
        )
    else:
        yield Finding(
            "worker packages", "ok", ", ".join(f"{name} {lookup(name)}" for name in WORKER_PACKAGES)
        )
    for extra, package in EXTRAS:
        found = lookup(package)
        if found is None:
            fix = f'Only if you want it: pip install -c constraints.txt -e ".[{extra}]".'
            concerns_workers = package != DISCORD_PACKAGE
            yield Finding(extra, "note", "not installed", f"{fix} {ALIKE}" if concerns_workers else fix)
        else:
            yield Finding(extra, "ok", f"{package} {found}")


def look_at_torch(run_program: RunProgram) -> Finding:
    """Whether torch imports, and which accelerators it sees."""
    if importlib.util.find_spec("torch") is None:
        return Finding("accelerator", "note", "torch is not installed")
    exit_code, said = run_program([sys.executable, "-c", TORCH_QUESTION])
    if exit_code != 0:
        last = said.strip().splitlines()[-1:] or ["no output"]
        return Finding(
            "accelerator", "missing", f"torch does not import: {last[0]}", "Install it anew: make demo."
        )
    facts = parse_json_object(said.strip().splitlines()[-1])
    gpus = facts.get("gpus")
    build = f"torch {facts.get('version')}"
    if isinstance(gpus, list) and gpus:
        return Finding("accelerator", "ok", f"{build}: {', '.join(map(str, gpus))}", ALIKE)
    if facts.get("cuda") is None:
        return Finding(
            "accelerator", "ok", f"{build}: CPU build", "With an NVIDIA GPU: make demo TORCH=cuda."
        )
    return Finding("accelerator", "note", f"{build}: CUDA build, but it sees no GPU", "Look at nvidia-smi.")


def look_at_redis(session: Session, settings: Settings) -> Finding:
    """A Redis that answers, or a server to start one with."""
    doors = session.ways.doors
    try:
        doors.ping_redis(settings)
    except AppError as error:
        unreachable = error.message
    else:
        return Finding("Redis", "ok", "answers at REDIS_URL")
    try:
        server = doors.find_redis_server()
    except AppError as error:
        return Finding("Redis", "missing", unreachable, error.message)
    found = f"none at REDIS_URL; `model-trainer up` starts its own ({server.name})"
    has_bot = settings.discord_token is not None
    fix = "The Discord bot finds that one by `model-trainer discord --state .state`." if has_bot else ""
    return Finding("Redis", "ok", found, fix)


def look_at_folders(settings: Settings) -> Iterator[Finding]:
    """Disk space and the data root."""
    app = settings.app
    free = shutil.disk_usage(_existing(app.artifacts_root)).free
    found = f"{free / GIGABYTE:.1f} GiB free for {app.artifacts_root}"
    if free < app.min_free_disk_bytes:
        yield Finding(
            "disk", "missing", found, "Free some space, or point APP__ARTIFACTS_ROOT to a larger disk."
        )
    else:
        yield Finding("disk", "ok", found)
    if app.data_root.is_dir():
        yield Finding("data root", "ok", f"{app.data_root.absolute()}")
    else:
        fix = f"mkdir {app.data_root} and put your text there, or set APP__DATA_ROOT."
        yield Finding("data root", "note", f"{app.data_root.absolute()} is not there", fix)


def look_at_host(settings: Settings) -> Finding:
    """The name by which this machine finds its own dead workers."""
    if settings.app.host_id is not None:
        return Finding("host id", "ok", f"{settings.app.host_id} (APP__HOST_ID)")
    return Finding("host id", "ok", f"{hostname()} (its host name)")


def look_at_locks(settings: Settings, *, exclude: Callable[[Path], bool] | None = None) -> Finding:
    """Whether a file under the runs root can be locked, once."""
    root = settings.app.runs_root
    try:
        keeps_out = (exclude or locks_exclude)(_existing(root))
    except ModuleNotFoundError:
        found = "this system has no flock: the lease alone keeps a second trainer out"
        return Finding("run locks", "note", found)
    except OSError as error:
        fix = "Make it writable for this user, or set APP__RUNS_ROOT."
        return Finding("run locks", "missing", f"no file can be locked under {root}: {error.strerror}", fix)
    if not keeps_out:
        fix = "Set APP__RUNS_ROOT to a disk of this machine, or nothing but the lease keeps a second trainer out."
        return Finding("run locks", "missing", f"locks under {root} keep nobody out", fix)
    return Finding("run locks", "ok", f"flock works under {root}")


def locks_exclude(folder: Path, *, lock: Callable[[int], None] | None = None) -> bool:
    """Whether a file in `folder` that is locked cannot be locked a second time."""
    lock = lock or _flock
    with (
        NamedTemporaryFile(dir=folder, prefix=TEMPORARY_PREFIX) as first,
        Path(first.name).open("rb") as second,
    ):
        lock(first.fileno())
        try:
            lock(second.fileno())
        except BlockingIOError:
            return True
        return False


def look_at_store(session: Session, settings: Settings) -> Finding:
    """Where artifacts and uploaded files live for good, and whether that can be worked with."""
    where = _place_of_store(settings)
    try:
        session.ways.doors.check_store(settings)
    except AppError as error:
        return Finding("artifact store", "missing", where, error.message)
    return Finding("artifact store", "ok", where)


def _place_of_store(settings: Settings) -> str:
    match settings.store.kind:
        case "local":
            return f"local, under {settings.app.artifacts_root}"
        case "s3":
            return f"s3, bucket {settings.store.s3.bucket}"
        case "databank":
            return f"databank at {settings.store.databank.url}"
        case _:
            assert_never(settings.store.kind)


def look_at_inference(settings: Settings, *, memory_bytes: int) -> Finding:
    """How much of the machine loaded models may take in each inference worker."""
    wanted = settings.inference.memory_bytes
    if wanted is None:
        return Finding("inference", "ok", "loaded models take up to a quarter of the memory")
    found = f"loaded models take up to {wanted / GIGABYTE:.1f} GiB"
    if 0 < memory_bytes < wanted:
        return Finding(
            "inference",
            "note",
            f"{found}, more than this machine has",
            "Set INFERENCE__MEMORY_BYTES lower, or leave it out: a quarter of the memory.",
        )
    return Finding("inference", "ok", found)


def look_at_api(session: Session) -> Finding:
    """Whether the API answers where the command line and the Discord bot look for it, and takes the key."""
    try:
        url, _ = session.address()
        with session.connect() as client:
            client.families()
    except AppError as error:
        found = f"no: {error.message}"
        if error.code is ErrorCode.UNAUTHORIZED:
            return Finding("API", "missing", found, "Set SECURITY__API_KEY as the API has it.")
        fix = "Only if it should run by now: model-trainer up, or set API_BASE_URL to where it is."
        return Finding("API", "note", found, fix)
    return Finding("API", "ok", f"answers at {url} and takes the key")


def look_at_discord(session: Session, settings: Settings, *, has_library: bool) -> Finding:
    """Whether the Discord bot could start."""
    if settings.discord_token is None and settings.discord_owner_id is None:
        return Finding("Discord bot", "ok", "not set up; README, The Discord bot, tells how")
    if not has_library:
        fix = 'pip install -c constraints.txt -e ".[discord]"'
        return Finding("Discord bot", "missing", "set up, but the extra discord is not installed", fix)
    try:
        name = session.ways.doors.check_discord(settings)
    except AppError as error:
        if error.code is ErrorCode.SERVICE_UNAVAILABLE:
            return Finding("Discord bot", "note", error.message, "Once it can, the bot connects by itself.")
        return Finding("Discord bot", "missing", "cannot start", error.message)
    return Finding("Discord bot", "ok", f"Discord knows the token: it is {name}")


def _flock(descriptor: int) -> None:
    import fcntl  # here: Windows has none

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    found = folder.absolute()
    while not found.exists():
        found = found.parent
    return found


def version_of(package: str) -> str | None:
    """The installed version, if any."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        said = Text(printable(one.found))
        if one.fix:
            said.append(f"\n-> {printable(one.fix)}", style="dim")
        table.add_row(Text(one.state, style=STYLES[one.state]), one.subject, said)
    return table
