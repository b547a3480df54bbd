"""What lease, heartbeat and telemetry cost: a fit inside a held run over a real Redis against a bare fit, in pairs.

    .venv/bin/python benchmarks/heartbeat_overhead.py [--rounds 5] [--seconds 20] [--quick]

Both sides train the same small model; the held side renews its lease, looks for flags, sends rows and progress, and
writes the series, as a worker does with the default settings. The target is less than one per cent.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script sees its own folder alone

from benchmarks.checkpoint_overhead import CALIBRATION_STEPS, SIZES, Bench, Stopwatch
from model_trainer.container import Container, live
from model_trainer.core.config import load_settings
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import NewRun, Progress, RunKind
from model_trainer.engine.protocols import StopReason
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from model_trainer.worker.event_mirror import EventMirror
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.observer import RunObserver
from model_trainer.worker.series import RunSeries


class HeldStopwatch(Stopwatch):
    """Passes everything on to the observer of a held run."""

    def __init__(self, observer: RunObserver) -> None:
        super().__init__()
        self._observer = observer

    def stop_requested(self) -> StopReason | None:
        return self._observer.stop_requested()

    def configured(self, *, total_steps: int, num_parameters: int, tokens_per_step: int) -> None:
        self._observer.configured(
            total_steps=total_steps, num_parameters=num_parameters, tokens_per_step=tokens_per_step
        )

    def stepped(self, progress: Progress) -> None:
        self._observer.stepped(progress)
        super().stepped(progress)

    def logged(self, *, step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
        self._observer.logged(step=step, metrics=metrics, timings=timings)

    def rows_must_last(self) -> None:
        self._observer.rows_must_last()


def main() -> None:
    """Prints the pairs, the median and the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of training, on each side of a pair")
    parser.add_argument("--quick", action="store_true", help="one short pair: does it run?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 2.0
    with tempfile.TemporaryDirectory(prefix="hb-") as folder, EmbeddedRedis(Path(folder) / "redis") as server:
        rates = measured(Path(folder), server.url, arguments)
    ratios = [held / bare for bare, held in zip(rates["bare"], rates["held"], strict=True)]
    print(f"median of paired ratios {statistics.median(ratios):.4f}")
    found = {
        "steps_per_second": {side: round(statistics.median(each), 3) for side, each in rates.items()},
        "ratios": [round(ratio, 4) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 4),
    }
    print(json.dumps({"benchmark": "heartbeat_overhead", **found}))


def measured(folder: Path, url: str, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Steps per second, by side."""
    settings = load_settings(env_file=None)
    app = settings.app.model_copy(
        update={"artifacts_root": folder / "artifacts", "runs_root": folder / "runs", "data_root": folder}
    )
    secret = type(settings.redis_url)(url)
    container = live(settings.model_copy(update={"app": app, "redis_url": secret}))
    bench = Bench(folder / "bench", SIZES["small"])
    rate = bench.timed(max_steps=CALIBRATION_STEPS, every=None).steps_per_second
    steps = max(CALIBRATION_STEPS, round(rate * arguments.seconds))
    rates: dict[str, list[float]] = {"bare": [], "held": []}
    for number in range(arguments.rounds):
        for side in list(rates) if number % 2 == 0 else list(rates)[::-1]:
            if side == "bare":
                watch = bench.timed(max_steps=steps, every=None)
            else:
                watch = held_fit(bench, container, folder / f"held-{number}", steps=steps)
            rates[side].append(watch.steps_per_second)
        print(f"{rates['bare'][-1]:.2f} steps/s bare, {rates['held'][-1]:.2f} held", flush=True)
    return rates


def held_fit(bench: Bench, container: Container, folder: Path, *, steps: int) -> Stopwatch:
    """The same training as a worker does it."""
    run = NewRun(
        run_id=new_ulid(),
        kind=RunKind.TRAIN,
        queue="training",
        family="gpt2",
        spec={},
        user_id=None,
        metadata={},
        parent_run_id=None,
        request_id="benchmark",
    )
    container.runs.submit(run, idempotency=None)
    app = container.settings.app
    lease = container.runs.claim(
        run.run_id, epoch=0, owner="benchmark", host=None, lease_seconds=app.lease_seconds
    )
    assert lease is not None  # noqa: S101 - nobody else is there to claim it
    folder.mkdir()
    held = HeldRun(
        store=container.runs,
        lease=lease,
        user_id=None,
        heartbeat_seconds=app.heartbeat_seconds,
        mirror=EventMirror(folder / "events.jsonl"),
    )
    recipe, splits = bench.prepared(max_steps=steps, every=None)
    observer = RunObserver(
        held=held,
        series=RunSeries(folder),
        folder=folder,
        recipe=recipe,
        train_tokens=splits.train.facts.num_tokens,
        validation_tokens=splits.validation.facts.num_tokens,
    )
    with held:
        return bench.timed(max_steps=steps, every=None, watch=HeldStopwatch(observer))


if __name__ == "__main__":
    main()
