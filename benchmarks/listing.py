"""What lists, filters and cursors cost when there are many runs, tokenizers and files: medians over HTTP, large against small.

    .venv/bin/python benchmarks/listing.py [--sizes 100 100000] [--calls 60] [--report FILE] [--quick]

Each size has a Redis, a store and an API of its own, in this process; calls take turns. The target is twice the small
size's median at most, for each call; 1 is the exit code where one misses it. Every page is full at both sizes, but for that
of two filters that never meet: there is no list to read for both, so one of them is searched to its end. It is shown
and not held to the target.
"""

import argparse
import asyncio
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic import SecretStr
from ulid import ULID

from model_trainer.api.main import create_app
from model_trainer.container import Container, live
from model_trainer.core.config import load_settings
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import NewRun, RunKind, RunRecord, RunStatus
from model_trainer.core.logging import configure_logging
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis

TARGET_RATIO = 2.0
WARM_UP = 5
TEAMS = "ab"
SEARCH = "filters that never meet"
SEARCHES = 3
"""They take so long that a few will do."""
MEMORY_DISK = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@dataclass(frozen=True)
class Call:
    """One request, and what it is called in the table."""

    name: str
    path: str
    params: dict[str, str]


@dataclass
class World:
    """One installation with so many of everything."""

    size: int
    client: httpx.AsyncClient
    ids: dict[str, list[str]]
    """Oldest first; of files in the order of their ids."""
    milliseconds: dict[str, list[float]] = field(default_factory=dict)

    def calls(self) -> list[Call]:
        """Every call that is timed, from this world's ids."""
        found: list[Call] = []
        for things, family in (("runs", "family"), ("tokenizers", "method")):
            families = {"runs": ("gpt2", "char_lstm"), "tokenizers": ("bpe", "char")}[things]
            ids, path = self.ids[things], f"/{things}"
            all_three = {"status": "failed", family: families[0], "metadata[team]": "a", "limit": "5"}
            found += [
                Call(f"{things}: first page", path, {}),
                Call(f"{things}: by status", path, {"status": "failed"}),
                Call(f"{things}: by {family}", path, {family: families[1]}),
                Call(f"{things}: by label", path, {"metadata[team]": "b"}),
                Call(f"{things}: by all three", path, all_three),
                Call(f"{things}: {SEARCH}", path, {"status": "failed", "metadata[is]": "good"}),
                Call(f"{things}: from the middle", path, {"after": ids[len(ids) // 2]}),
                Call(f"{things}: last page", path, {"after": ids[20]}),
            ]
        files = self.ids["files"]
        found += [
            Call("files: first page", "/files", {}),
            Call("files: by prefix", "/files", {"prefix": files[len(files) // 3][:2]}),
            Call("files: from the middle", "/files", {"after": files[len(files) // 2]}),
            Call("files: last page", "/files", {"after": files[-21]}),
        ]
        return found

    async def time(self, call: Call) -> None:
        """Makes a call, and notes how long the answer took."""
        began = time.perf_counter()
        answer = await self.client.get(call.path, params=call.params)
        self.milliseconds.setdefault(call.name, []).append((time.perf_counter() - began) * 1e3)
        answer.raise_for_status()


def main() -> int:
    """Prints a table and the JSON; 1 when a call misses the target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs=2, default=[100, 100_000], metavar=("SMALL", "LARGE"))
    parser.add_argument("--calls", type=int, default=60, help="of each kind, at each size")
    parser.add_argument("--report", type=Path, help="write the JSON here too")
    parser.add_argument("--quick", action="store_true", help="100 against 1000, a few calls: does it run?")
    arguments = parser.parse_args()
    configure_logging(service="model-trainer", level="WARNING", readable=True)
    small, large = arguments.sizes
    calls: int = arguments.calls
    if arguments.quick:
        small, large, calls = 100, 1000, 10
    with ExitStack() as stack:
        worlds = [stack.enter_context(world(size)) for size in (small, large)]
        asyncio.run(measured(worlds, calls=calls))
    rows = compared(*worlds)
    print(f"{'call':32} {small:>10} {large:>10} {'ratio':>7}   (median ms)")
    for name, (before, after) in rows.items():
        print(f"{name:32} {before:10.2f} {after:10.2f} {after / before:7.2f}")
    worst = max(after / before for name, (before, after) in rows.items() if SEARCH not in name)
    found = {
        "benchmark": "listing",
        "sizes": [small, large],
        "median_ms": {name: [round(each, 3) for each in pair] for name, pair in rows.items()},
        "ratios": {name: round(after / before, 3) for name, (before, after) in rows.items()},
        "worst_ratio": round(worst, 3),
        "within_target": worst <= TARGET_RATIO,
    }
    print(json.dumps(found))
    if arguments.report is not None:
        arguments.report.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if found["within_target"] else 1


async def measured(worlds: list[World], *, calls: int) -> None:
    """Makes every call often enough, small and large by turns."""
    for number in range(-WARM_UP, calls):
        for pair in zip(*(each.calls() for each in worlds), strict=True):
            for each, call in zip(worlds, pair, strict=True):
                if SEARCH not in call.name or 0 <= number < SEARCHES:
                    await each.time(call)
        if number == -1:
            for each in worlds:
                each.milliseconds.clear()
    for each in worlds:
        await each.client.aclose()


def compared(small: World, large: World) -> Mapping[str, tuple[float, float]]:
    """The medians of each call."""
    return {
        name: (statistics.median(small.milliseconds[name]), statistics.median(large.milliseconds[name]))
        for name in sorted(small.milliseconds)
    }


@contextmanager
def world(size: int) -> Iterator[World]:
    """An installation, filled; its files lie in memory where the system has a place for that: filling it forces each to disk."""
    disk = MEMORY_DISK if MEMORY_DISK.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="listing-", dir=disk) as name:
        folder = Path(name)
        with EmbeddedRedis(folder / "redis", overrides={"appendonly": "no"}) as server:
            container = installed(folder, server.url)
            began = time.perf_counter()
            ids = {
                "runs": runs(container, RunKind.TRAIN, ("gpt2", "char_lstm"), size),
                "tokenizers": runs(container, RunKind.TOKENIZER, ("bpe", "char"), size),
                "files": files(container, folder, size),
            }
            print(f"{size} of each made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
            transport = httpx.ASGITransport(app=create_app(container))
            yield World(
                size=size, client=httpx.AsyncClient(transport=transport, base_url="http://api"), ids=ids
            )


def installed(folder: Path, redis_url: str) -> Container:
    """Parts over these folders and this Redis."""
    settings = load_settings(env_file=None)
    roots: dict[str, object] = {
        f"{root}_root": folder / root for root in ("artifacts", "runs", "logs", "data")
    }
    changes: dict[str, object] = {
        "redis_url": SecretStr(redis_url),
        "app": settings.app.model_copy(update=roots),
    }
    return live(settings.model_copy(update=changes))


def runs(container: Container, kind: RunKind, families: tuple[str, str], size: int) -> list[str]:
    """Ended runs: one in four failed, half of each family, half with each label; a minute between two."""
    template = ended(container, kind)
    now = time.time()
    found: list[str] = []
    for each in range(size):
        failed = each % 4 == 0
        changes: dict[str, object] = {
            "run_id": str(ULID.from_timestamp(now - 60 * (size - each))),
            "status": RunStatus.FAILED if failed else RunStatus.COMPLETED,
            "family": families[each // 4 % 2],
            "metadata": {"team": TEAMS[each // 8 % 2], "is": "bad" if failed else "good"},
        }
        container.runs.restore(template.model_copy(update=changes), ())
        found.append(str(changes["run_id"]))
    return found


def ended(container: Container, kind: RunKind) -> RunRecord:
    """The record of a run that was cancelled at once."""
    method: JsonObject = {"method": "bpe", "vocab_size": 8000}
    family: JsonObject = {
        "model_family": "gpt2",
        "tokenizer_id": new_ulid(),
        "learning_rate": 3e-4,
        "num_steps": 1000,
    }
    asked_for: JsonObject = {"corpus_path": "corpus", "seed": 42}
    asked_for |= method if kind is RunKind.TOKENIZER else family
    run = NewRun(
        run_id=new_ulid(),
        kind=kind,
        queue="short",
        family="gpt2",
        spec=asked_for,
        user_id="ada",
        metadata={},
        parent_run_id=None,
        request_id="r-1",
    )
    container.runs.submit(run, idempotency=None)
    container.runs.request_cancel(run.run_id)
    return container.runs.get(run.run_id)


def files(container: Container, folder: Path, size: int) -> list[str]:
    """Files of a few bytes."""
    source = folder / "source"
    found: list[str] = []
    for each in range(size):
        content = f"file {each}\n".encode()
        source.write_bytes(content)
        file_id = hashlib.sha256(content).hexdigest()
        container.store.put(source, file_id=file_id, num_bytes=len(content))
        found.append(file_id)
    return sorted(found)


if __name__ == "__main__":
    sys.exit(main())
