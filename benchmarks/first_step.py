"""How soon a warm worker takes a small model's first step: from the POST to the end of step 1.

    .venv/bin/python benchmarks/first_step.py --runs 5

Starts the embedded stack in a folder of its own, trains a char tokenizer on a generated text, then posts the same
small training several times. The time runs from before the POST to the first event whose progress says step 1 or
later; events come over SSE. What the step loop knows of it lags by at most one heartbeat, so the heartbeat is short.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from model_trainer.cli.stack import free_address
from model_trainer.client import TrainerClient
from model_trainer.core.contracts.base import JsonObject

TEXT = "".join(f"Line {n} of a text that only has to be long enough.\n" for n in range(4000))


def main() -> None:
    """Prints each run, the median, and a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="trainings to time after one that is not counted")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="first-step-") as folder:
        seconds = measure(Path(folder), runs=runs)
    print(f"median {statistics.median(seconds):.3f} s over {runs} runs")
    print(json.dumps({"benchmark": "first_step", "seconds": [round(each, 3) for each in seconds]}))


def measure(state: Path, *, runs: int) -> list[float]:
    """Seconds from POST to first step, once per run."""
    (state / "corpus").mkdir()
    (state / "corpus" / "text.txt").write_text(TEXT)
    address = free_address("127.0.0.1", 0)
    command = [
        sys.executable,
        "-m",
        "model_trainer",
        "up",
        "--state",
        str(state),
        "--port",
        str(address.port),
    ]
    environment = {**os.environ, "APP__HEARTBEAT_SECONDS": "0.05", "LOG_LEVEL": "WARNING"}
    stack = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        with TrainerClient(address.url, api_key=None) as client:
            wait_until_ready(client, stack)
            tokenizer_id = trained_tokenizer(client)
            time_to_first_step(client, tokenizer_id)
            timed = []
            for number in range(runs):
                timed.append(time_to_first_step(client, tokenizer_id))
                print(f"run {number + 1}: {timed[-1]:.3f} s", flush=True)
            return timed
    finally:
        stack.send_signal(signal.SIGTERM)
        stack.wait(timeout=60)


def wait_until_ready(client: TrainerClient, stack: subprocess.Popen[bytes]) -> None:
    """Returns when every service is up."""
    while not client.is_ready():
        if stack.poll() is not None:
            raise SystemExit(f"the stack ended with exit code {stack.returncode}")
        time.sleep(0.1)


def trained_tokenizer(client: TrainerClient) -> str:
    """A char tokenizer's id."""
    tokenizer_id = client.train_tokenizer(
        {"method": "char", "corpus_path": "text.txt", "vocab_size": 100}
    ).tokenizer_id
    while client.tokenizer(tokenizer_id).status != "completed":
        time.sleep(0.05)
    return tokenizer_id


def time_to_first_step(client: TrainerClient, tokenizer_id: str) -> float:
    """Posts a training, waits for its first step, and for its end."""
    spec: JsonObject = {
        "model_family": "gpt2",
        "corpus_path": "text.txt",
        "tokenizer_id": tokenizer_id,
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 64,
        "max_seq_len": 64,
        "batch_size": 8,
        "max_steps": 40,
        "log_every_steps": 1,
    }
    began = time.monotonic()
    run_id = client.train(spec).run_id
    first_step: float | None = None
    for event in client.follow_events(run_id):
        if first_step is None and "trainer.metrics.progress.v1" in str(event.data):
            first_step = time.monotonic() - began
    if first_step is None:
        raise SystemExit(f"run {run_id} took no step: {client.run(run_id).message}")
    return first_step


if __name__ == "__main__":
    main()
