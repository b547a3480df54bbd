"""What checkpoints cost: steps per second with one every ten seconds against none, in pairs that take turns.

    .venv/bin/python benchmarks/checkpoint_overhead.py [--rounds 3] [--seconds 35] [--every 10] [--quick]

Both sides train the same model on the same data for the same number of steps; steps are counted from the first to the
last, so the checkpoint at the end, which both write, is in neither. Prints each pair, medians, and a line of JSON.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from model_trainer.core.config.settings import SPIN_COUNT

# As workers do; libgomp reads it once, when torch is imported below. With its own default a training that shares two cores
# with anybody, its own checkpoint writer too, spins its time away, and this would measure the spinning.
os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.run import Progress
from model_trainer.core.contracts.training import LanguageModelSpec, Recipe
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.engine.data.corpus import scan_corpus, texts
from model_trainer.engine.data.token_blocks import pack
from model_trainer.engine.data.token_splits import TokenSplits
from model_trainer.engine.devices import probe_machine, select_device, set_threads
from model_trainer.engine.protocols import StopReason
from model_trainer.engine.tasks.language_modelling import LanguageModellingTask
from model_trainer.engine.training.checkpoint import CheckpointFolder
from model_trainer.engine.training.seed import seed_everything
from model_trainer.engine.training.trainer import fit
from model_trainer.models.family import LanguageFamily
from model_trainer.registry import Registry

TEXT = "".join(
    f"Line {n} of a text, with {n * 7919 % 1000} things in it that differ.\n" for n in range(40_000)
)
SIZES: dict[str, JsonObject] = {
    "small": {"n_layer": 2, "n_head": 2, "n_embd": 64, "max_seq_len": 64, "batch_size": 16},
    "medium": {"n_layer": 6, "n_head": 6, "n_embd": 384, "max_seq_len": 128, "batch_size": 8},
}
NEVER = 1_000_000_000
CALIBRATION_STEPS = 20


class Stopwatch:
    """An observer that wants nothing but the time of the first and of the last step."""

    def __init__(self) -> None:
        self.num_checkpoints = 0
        self._first = self._last = 0.0
        self._steps = 0

    @property
    def steps_per_second(self) -> float:
        """Between the first step and the last one."""
        return (self._steps - 1) / (self._last - self._first)

    def stop_requested(self) -> StopReason | None:
        return None

    def configured(self, *, total_steps: int, num_parameters: int, tokens_per_step: int) -> None: ...

    def resumed(self, *, step: int) -> None: ...

    def stepped(self, progress: Progress) -> None:
        self._last = time.perf_counter()
        self._first = self._first or self._last
        self._steps += 1

    def logged(self, *, step: int, metrics: dict[str, float], timings: dict[str, float]) -> None: ...

    def rows_must_last(self) -> None: ...

    def checkpoint_saved(self, *, step: int, path: Path, num_bytes: int, metrics: dict[str, float]) -> None:
        self.num_checkpoints += 1

    def checkpoint_rejected(self, *, path: Path, why: str) -> None: ...


def main() -> None:
    """Prints the pairs and the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=35.0, help="of training, on each side of a pair")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between checkpoints")
    parser.add_argument("--quick", action="store_true", help="one short pair a size: does it run?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.every = 1, 3.0, 1.0
    found = {}
    with tempfile.TemporaryDirectory(prefix="checkpoint-overhead-") as folder:
        for size in SIZES:
            found[size] = measured(Path(folder) / size, size, arguments)
    print(json.dumps({"benchmark": "checkpoint_overhead", "every_seconds": arguments.every, "sizes": found}))


def measured(folder: Path, size: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Medians and ratios of one size."""
    bench = Bench(folder, SIZES[size])
    rate = bench.timed(max_steps=CALIBRATION_STEPS, every=None).steps_per_second
    steps = max(CALIBRATION_STEPS, round(rate * arguments.seconds))
    rates: dict[str, list[float]] = {"none": [], "checkpoints": []}
    num_checkpoints = 0
    for number in range(arguments.rounds):
        sides = list(rates) if number % 2 == 0 else list(rates)[::-1]
        for side in sides:
            watch = bench.timed(max_steps=steps, every=arguments.every if side == "checkpoints" else None)
            rates[side].append(watch.steps_per_second)
            num_checkpoints = max(num_checkpoints, watch.num_checkpoints)
        print(
            f"{size}: {rates['none'][-1]:.2f} steps/s without, {rates['checkpoints'][-1]:.2f} with",
            flush=True,
        )
    ratios = [own / none for none, own in zip(rates["none"], rates["checkpoints"], strict=True)]
    print(
        f"{size}: median of paired ratios {statistics.median(ratios):.4f} ({num_checkpoints} checkpoints a run)"
    )
    return {
        "steps_per_second": {side: round(statistics.median(each), 3) for side, each in rates.items()},
        "ratios": [round(ratio, 4) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 4),
        "checkpoints": num_checkpoints,
        "steps": steps,
    }


class Bench:
    """One size of model with its data."""

    def __init__(self, folder: Path, sizes: JsonObject) -> None:
        self._folder = folder
        self._sizes = sizes
        self._machine: Machine = probe_machine()
        self._registry = Registry.discover()
        self._runs = 0
        folder.mkdir(parents=True)
        (folder / "text.txt").write_text(TEXT)
        self._source = CorpusSource("text.txt", folder, ("text.txt",), len(TEXT))
        self._digest = scan_corpus(self._source, encoding_errors="strict", report=lambda done, total: None)
        body = {"method": "char", "corpus_path": "text.txt", "vocab_size": 80}
        spec = self._registry.parse_tokenizer_spec(json.dumps(body))
        backend = self._registry.tokenizer("char").backend()
        tokenizer_folder = folder / "tokenizer"
        tokenizer_folder.mkdir()
        backend.train(
            texts(self._source, self._digest, plan=spec.split_plan(), split="train"),
            spec,
            num_bytes=self._digest.num_bytes,
            folder=tokenizer_folder,
            report=lambda fraction, message: None,
        )
        self._tokenizer = backend.load(tokenizer_folder)

    def timed(self, *, max_steps: int, every: float | None, watch: Stopwatch | None = None) -> Stopwatch:
        """A training of so many steps, with a checkpoint every so many seconds or none before the end."""
        recipe, splits = self.prepared(max_steps=max_steps, every=every)
        set_threads(recipe.cpu_threads)
        seed_everything(recipe.seed)
        self._runs += 1
        watch = watch or Stopwatch()
        device = select_device(recipe.device)
        family = self._registry.family("gpt2")
        if not isinstance(family, LanguageFamily):
            raise SystemExit("gpt2 is no language model here")
        model = family.backend().build(recipe)
        with LanguageModellingTask(
            train=splits.train,
            validation=splits.validation,
            recipe=recipe,
            device=device,
            on_evaluation=lambda _share: None,
        ) as task:
            fit(
                model=model,
                task=task,
                recipe=recipe,
                device=device,
                checkpoints=CheckpointFolder(self._folder / f"run-{self._runs}"),
                observer=watch,
            )
        return watch

    def prepared(self, *, max_steps: int, every: float | None) -> tuple[Recipe, TokenSplits]:
        """What is trained, and on which tokens."""
        body = {
            "model_family": "gpt2",
            "corpus_path": "text.txt",
            "tokenizer_id": "0" * 26,
            "max_steps": max_steps,
            "log_every_steps": 50,
            "eval_every_steps": max_steps,
            "checkpoint": {"every_steps": NEVER, **({} if every is None else {"every_seconds": every})},
            **self._sizes,
        }
        spec = self._registry.parse_train_spec(json.dumps(body))
        if not isinstance(spec, LanguageModelSpec):
            raise SystemExit("gpt2 is no language model here")
        family = self._registry.family("gpt2")
        recipe = family.resolve(spec, self._machine, vocab_size=self._tokenizer.inspect().vocab_size)
        splits = pack(
            self._source,
            self._digest,
            plan=spec.split_plan(),
            tokenizer=self._tokenizer,
            cache=self._folder / "cache",
            block_size=recipe.max_seq_len,
            threads=recipe.cpu_threads,
            report=lambda fraction, message: None,
        )
        return recipe, splits


if __name__ == "__main__":
    main()
