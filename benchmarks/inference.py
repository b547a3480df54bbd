"""What a question to a model costs over the model's own time, over HTTP: warm, and cold beside a bare load.

    .venv/bin/python benchmarks/inference.py [--rounds 40] [--tokens 32] [--quick] [--report FILE]

Trains two small models in a folder of its own, then starts the API and one inference process over a Redis of their own.
Warm: the whole POST with `Prefer: wait`, as the client's clock has it, less the model's own time as the worker measured it;
target: at most 15 ms at the median. Cold: an inference process with room for one model is asked two in turn, so that each
request loads one; its load against a bare load of the same model in this process, which has imported everything too.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script sees its own folder alone

from model_trainer.cli.stack import free_address
from model_trainer.container import Container, live
from model_trainer.core.compute.machine import usable_cpus
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.config.settings import process_environment
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.inference import INFERENCE_QUEUE, Timings
from model_trainer.core.contracts.jobs import TrainModel, TrainTokenizer
from model_trainer.engine.devices import select_device, set_threads
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from model_trainer.worker.inference.loaded import LoadedModels
from model_trainer.worker_entry import run_job

TEXT = "".join(
    f"Line {n} of a text that only has to be long enough, {n * n % 97} times.\n" for n in range(3000)
)
PROMPT = "Line 7 of a text"
MODEL: JsonObject = {
    "model_family": "gpt2",
    "corpus_path": "text.txt",
    "n_layer": 4,
    "n_head": 4,
    "n_embd": 256,
    "max_seq_len": 128,
    "batch_size": 2,
    "max_steps": 2,
    "eval_every_steps": 2,
    "device": "cpu",
}
TARGET_MILLISECONDS = 15.0


@dataclass(frozen=True)
class Cost:
    """Milliseconds of one request."""

    wall: float
    """From before the POST to the whole answer, by the client's clock."""
    timings: Timings

    @property
    def overhead(self) -> float:
        """Over the model's own time, and over loading it."""
        return self.wall - self.timings.model - self.timings.load


def main() -> None:
    """Prints what was found and a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=32, help="that each request draws")
    parser.add_argument("--quick", action="store_true", help="a few rounds: does it run?")
    parser.add_argument("--report", type=Path, help="write the JSON there too")
    arguments = parser.parse_args()
    rounds: int = 5 if arguments.quick else arguments.rounds
    with tempfile.TemporaryDirectory(prefix="ask-") as name, EmbeddedRedis(Path(name) / "redis") as server:
        bench = Bench(Path(name), server.url, tokens=arguments.tokens)
        with bench.service(memory_bytes=1 << 40) as client:
            found = {"warm": warm(bench, client, rounds=rounds)}
        with bench.service(memory_bytes=1) as client:
            found["cold"] = cold(bench, client, rounds=max(3, rounds // 2))
    line = json.dumps({"benchmark": "inference", "rounds": rounds, "tokens": arguments.tokens, **found})
    print(line)
    if arguments.report is not None:
        arguments.report.write_text(line + "\n")


class Bench:
    """An installation with two trained models."""

    def __init__(self, folder: Path, redis_url: str, *, tokens: int) -> None:
        (folder / "corpus").mkdir()
        (folder / "corpus" / "text.txt").write_text(TEXT)
        settings = load_settings(env_file=None)
        roots = {
            "artifacts_root": folder / "artifacts",
            "runs_root": folder / "runs",
            "logs_root": folder / "logs",
            "data_root": folder / "corpus",
        }
        self.settings: Settings = settings.model_copy(
            update={"redis_url": SecretStr(redis_url), "app": settings.app.model_copy(update=roots)}
        )
        self.container: Container = live(self.settings)
        self.body: JsonObject = {"prompt_text": PROMPT, "max_new_tokens": tokens, "stop_on_eos": False}
        tokenizer_id = self._tokenizer()
        self.run_ids = [self._trained(tokenizer_id) for _ in range(2)]

    @contextmanager
    def service(self, *, memory_bytes: int) -> Iterator[httpx.Client]:
        """An API and an inference process, in this with-block."""
        address = free_address("127.0.0.1", 0)
        app = self.settings.app
        environment = process_environment() | {
            "REDIS_URL": self.settings.redis_url.get_secret_value(),
            "APP__DATA_ROOT": str(app.data_root),
            "APP__ARTIFACTS_ROOT": str(app.artifacts_root),
            "APP__RUNS_ROOT": str(app.runs_root),
            "APP__LOGS_ROOT": str(app.logs_root),
            "LOG_LEVEL": "WARNING",
            "INFERENCE__MEMORY_BYTES": str(memory_bytes),
        }
        program = [sys.executable, "-m", "model_trainer", "--env-file", ""]
        commands = (["serve", "--host", address.host, "--port", str(address.port)], ["inference"])
        running = [
            subprocess.Popen([*program, *command], env=environment, stderr=subprocess.DEVNULL)
            for command in commands
        ]
        try:
            with httpx.Client(base_url=address.url, timeout=120) as client:
                while not self._is_ready(client):
                    if any(process.poll() is not None for process in running):
                        raise SystemExit("a process of the service has ended")
                    time.sleep(0.05)
                yield client
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(60)

    def ask(self, client: httpx.Client, run_id: str) -> Cost:
        """One request, waited for."""
        began = time.perf_counter()
        answer = client.post(f"/runs/{run_id}/generate", json=self.body, headers={"Prefer": "wait=60"})
        wall = (time.perf_counter() - began) * 1000
        if answer.status_code != 200:
            raise SystemExit(answer.text)
        return Cost(wall, Timings.model_validate(answer.json()["timings"]))

    def bare_models(self) -> LoadedModels:
        """Models in this process, none loaded yet: the first use of one is its load and nothing else."""
        parts = self.container.worker_parts("benchmark")
        return LoadedModels(
            parts,
            device=select_device("cpu"),
            memory_bytes=1 << 40,
            use_threads=set_threads,
            cpus=usable_cpus(),
        )

    def _is_ready(self, client: httpx.Client) -> bool:
        try:
            return client.get("/healthz").status_code == 200 and bool(
                self.container.workers_of(INFERENCE_QUEUE)
            )
        except httpx.TransportError:
            return False

    def _tokenizer(self) -> str:
        body = {"method": "char", "corpus_path": "text.txt", "vocab_size": 100}
        spec = self.container.registry.parse_tokenizer_spec(json.dumps(body))
        run_id = self.container.tokenizers.start(spec, request_id="b", idempotency=None).record.run_id
        run_job(
            TrainTokenizer(run_id=run_id, epoch=0).model_dump_json(), settings=self.settings, worker_id="b"
        )
        return run_id

    def _trained(self, tokenizer_id: str) -> str:
        spec = self.container.registry.parse_train_spec(json.dumps({**MODEL, "tokenizer_id": tokenizer_id}))
        run_id = self.container.training.start(spec, request_id="b", idempotency=None).record.run_id
        run_job(TrainModel(run_id=run_id, epoch=0).model_dump_json(), settings=self.settings, worker_id="b")
        return run_id


def warm(bench: Bench, client: httpx.Client, *, rounds: int) -> JsonObject:
    """The same request again and again; what each took beside the model's own time in it."""
    run_id = bench.run_ids[0]
    costs = [bench.ask(client, run_id) for _ in range(rounds + 2)][2:]  # the first two load and warm up
    overhead = [cost.overhead for cost in costs]
    median, model = statistics.median(overhead), statistics.median(cost.timings.model for cost in costs)
    print(
        f"warm: {median:.2f} ms over the model's own {model:.1f} ms (target {TARGET_MILLISECONDS:g})",
        flush=True,
    )
    return {
        "median_overhead_milliseconds": round(median, 3),
        "largest_overhead_milliseconds": round(max(overhead), 3),
        "median_model_milliseconds": round(model, 3),
        "is_within_target": median <= TARGET_MILLISECONDS,
    }


def cold(bench: Bench, client: httpx.Client, *, rounds: int) -> JsonObject:
    """Two models in turn, where one has room; a bare load of the same one beside each."""
    loads: list[float] = []
    bare: list[float] = []
    overhead: list[float] = []
    for number in range(rounds + 2):
        run_id = bench.run_ids[number % 2]
        cost = bench.ask(client, run_id)
        with bench.bare_models().use(run_id) as in_use:
            alone = in_use.load_milliseconds
        if number >= 2:
            loads.append(cost.timings.load)
            overhead.append(cost.overhead)
            bare.append(alone)
    ratio = statistics.median(load / alone for load, alone in zip(loads, bare, strict=True))
    print(
        f"cold: load {statistics.median(loads):.1f} ms, a bare load {statistics.median(bare):.1f} ms (median of paired "
        f"ratios {ratio:.2f}); {statistics.median(overhead):.2f} ms over load and model",
        flush=True,
    )
    return {
        "median_load_milliseconds": round(statistics.median(loads), 3),
        "median_bare_load_milliseconds": round(statistics.median(bare), 3),
        "median_ratio": round(ratio, 3),
        "median_overhead_milliseconds": round(statistics.median(overhead), 3),
    }


if __name__ == "__main__":
    main()
