"""Our recipes against nanoGPT's documented CPU recipe, on any text: same split, same exact evaluation.

    python benchmarks/recipes.py                        # the standard library's own prose and code
    python benchmarks/recipes.py my.txt --seconds 200 --lstm --lstm-seconds 600 --json report.json

The reference is a bare PyTorch loop with nanoGPT's numbers (4 layers, 128 wide, windows of 64, batch 12, AdamW 1e-3 to 1e-4
by a cosine, beta2 0.99, weight decay 0.1, clipping at 1, 2,000 steps, fp32, random windows). Ours are what a request gets
that names nothing at all, cut to as many steps as the measured step time leaves room for.
Wants a quiet machine: two threads that wait for each other suffer from a third.
"""

import argparse
import copy
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.run import Progress
from model_trainer.core.contracts.training import Recipe
from model_trainer.engine.data.batches import window_batch
from model_trainer.engine.data.token_splits import SplitWriter, TokenSplit
from model_trainer.engine.devices import probe_machine, select_device, set_threads
from model_trainer.engine.evaluation.likelihood import language_metrics, score
from model_trainer.engine.protocols import LanguageModel, StopReason
from model_trainer.engine.tasks.language_modelling import LanguageModellingTask
from model_trainer.engine.training.checkpoint import CheckpointFolder
from model_trainer.engine.training.optimizer import build_optimizer
from model_trainer.engine.training.seed import seed_everything
from model_trainer.engine.training.trainer import fit
from model_trainer.engine.training.update import WeightUpdate
from model_trainer.models.family import LanguageFamily
from model_trainer.registry import Registry

NUM_CHARACTERS = 1_000_000
TRAINING_SHARE = 0.9
"""Of the budget; the rest is for the evaluations and checkpoints on the way."""
REFERENCE: JsonObject = {
    "model_size": "tiny",
    "max_seq_len": 64,
    "batch_size": 12,
    "max_steps": 2000,
    "precision": "fp32",
    "optimizer": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1, "beta2": 0.99},
    "schedule": {"name": "cosine", "warmup_steps": 100, "final_fraction": 0.1},
    "gradient_clip_norm": 1.0,
}


@dataclass(frozen=True)
class Text:
    """Character ids of the first nine tenths and of the rest."""

    train: TokenSplit
    validation: TokenSplit
    vocab_size: int


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    num_parameters: int
    steps: int
    seconds: float
    nats_per_char: float
    bits_per_byte: float
    protocol: str


class Silent:
    """A TrainingObserver that shows how far it is, on a terminal."""

    def __init__(self) -> None:
        self.num_parameters = 0

    def stop_requested(self) -> StopReason | None:
        return None

    def configured(self, *, total_steps: int, num_parameters: int, tokens_per_step: int) -> None:
        self.num_parameters = num_parameters

    def resumed(self, *, step: int) -> None:
        return None

    def stepped(self, progress: Progress) -> None:
        if progress.step % 100 == 0 and sys.stderr.isatty():
            print(f"\r{progress.step}/{progress.total_steps} steps ", end="", file=sys.stderr, flush=True)

    def logged(self, *, step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
        return None

    def rows_must_last(self) -> None:
        return None

    def checkpoint_saved(self, *, step: int, path: Path, num_bytes: int, metrics: dict[str, float]) -> None:
        return None

    def checkpoint_rejected(self, *, path: Path, why: str) -> None:
        return None


def main() -> None:
    """Runs the reference and our recipes one after the other and prints what each reached."""
    options = parsed()
    machine = probe_machine()
    set_threads(options.threads)
    text = options.text.read_text(errors="replace") if options.text else standard_library()
    with tempfile.TemporaryDirectory() as folder, split(text[: options.characters], Path(folder)) as data:
        found = Registry.discover().families()
        families = {name: each for name, each in found.items() if isinstance(each, LanguageFamily)}
        rows = []
        if options.reference:
            recipe = resolved(families["gpt2"], data, options.threads, **REFERENCE)
            rows.append(reference(families["gpt2"], recipe, data))
        wanted = [("gpt2", options.seconds)] + ([("char_lstm", options.lstm_seconds)] if options.lstm else [])
        for name, seconds in wanted:
            recipe = resolved(families[name], data, options.threads)
            rows.append(ours(families[name], recipe, data, seconds=seconds, folder=Path(folder)))
    show(rows)
    if options.json:
        report: JsonObject = {
            "characters": options.characters,
            "threads": options.threads,
            "native_bf16": machine.native_bf16,
            "torch": torch.__version__,
            "rows": [{**vars(row)} for row in rows],
        }
        options.json.write_text(dump_json(report) + "\n")


@dataclass(frozen=True)
class Options:
    """The command line."""

    text: Path | None
    seconds: float
    lstm: bool
    lstm_seconds: float
    characters: int
    threads: int
    reference: bool
    json: Path | None


def parsed() -> Options:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "text", nargs="?", type=Path, help="a text file; the standard library's when left out"
    )
    parser.add_argument("--seconds", type=float, default=200.0, help="training time of our GPT (200)")
    parser.add_argument("--lstm", action="store_true", help="train the char-LSTM too")
    parser.add_argument(
        "--lstm-seconds", type=float, default=600.0, help="training time of our char-LSTM (600)"
    )
    parser.add_argument("--characters", type=int, default=NUM_CHARACTERS, help="of the text (1,000,000)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    parser.add_argument("--no-reference", dest="reference", action="store_false", help="ours alone")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return Options(**vars(parser.parse_args()))


def standard_library() -> str:
    """Python's own modules, in the order of their names: English and code that every machine has."""
    folder = Path(sysconfig.get_path("stdlib"))
    parts: list[str] = []
    size = 0
    for path in sorted(folder.glob("*.py")):
        parts.append(path.read_text(encoding="utf-8", errors="replace"))
        size += len(parts[-1])
        if size > NUM_CHARACTERS:
            break
    return "".join(parts)


@contextmanager
def split(text: str, folder: Path) -> Iterator[Text]:
    """nanoGPT's way: every character of the text has a number, and the last tenth validates."""
    ids = {character: number for number, character in enumerate(sorted(set(text)))}
    cut = int(0.9 * len(text))
    yield Text(
        train=packed(folder / "train.bin", text[:cut], ids),
        validation=packed(folder / "validation.bin", text[cut:], ids),
        vocab_size=len(ids),
    )


def packed(path: Path, text: str, ids: dict[str, int]) -> TokenSplit:
    """One split on disk."""
    with path.open("wb") as file:
        writer = SplitWriter(file, token_type="uint16", end_of_text_id=None)  # noqa: S106 - a type of number
        writer.add(text, [ids[character] for character in text], continues=False)
    return TokenSplit(path, "uint16", None, writer.facts())


def resolved(family: LanguageFamily, data: Text, threads: int, **asked: object) -> Recipe:
    """What a request for this family gets on this machine."""
    body = {
        "model_family": family.name,
        "corpus_path": "text",
        "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB",
        "device": "cpu",
        "cpu_threads": threads,
        **asked,
    }
    return family.resolve(family.spec.model_validate(body), probe_machine(), vocab_size=data.vocab_size)


def ours(family: LanguageFamily, recipe: Recipe, data: Text, *, seconds: float, folder: Path) -> Row:
    """Our trainer with the recipe's defaults, for about `seconds`."""
    seed_everything(recipe.seed)
    model = family.backend().build(recipe)
    device = select_device("cpu")
    recipe = within(recipe, seconds, step_seconds(model, recipe, data))
    observer = Silent()
    with LanguageModellingTask(
        train=data.train, validation=data.validation, recipe=recipe, device=device
    ) as task:
        result = fit(
            model=model,
            task=task,
            recipe=recipe,
            device=device,
            checkpoints=CheckpointFolder(folder / family.name),
            observer=observer,
        )
    return scored(
        f"ours: {family.name}",
        model,
        recipe,
        data,
        steps=result.steps,
        seconds=sum(result.timings_seconds.values()),
    )


def within(recipe: Recipe, seconds: float, seconds_per_step: float) -> Recipe:
    """The recipe's own steps, or as many as the budget has room for: the schedule ends either way."""
    steps = min(recipe.max_steps or sys.maxsize, max(1, int(TRAINING_SHARE * seconds / seconds_per_step)))
    return recipe.model_copy(update={"max_steps": steps, "num_epochs": None})


def step_seconds(model: LanguageModel, recipe: Recipe, data: Text) -> float:
    """Median time of a step of a copy of the model."""
    trial = copy.deepcopy(model)
    device = select_device("cpu")
    times: list[float] = []
    with LanguageModellingTask(
        train=data.train, validation=data.validation, recipe=recipe, device=device
    ) as task:
        update = WeightUpdate(
            trial, task, recipe=recipe, optimizer=build_optimizer(trial, recipe), total_steps=1000
        )
        for step in range(60):
            begin = time.perf_counter()
            update(step)
            times.append(time.perf_counter() - begin)
    return statistics.median(times[10:])


def reference(family: LanguageFamily, recipe: Recipe, data: Text) -> Row:
    """A bare loop over the same network: what nanoGPT's train.py does."""
    steps = recipe.max_steps or 0
    seed_everything(1337)
    model = family.backend().build(recipe)
    optimizer = build_optimizer(model, recipe)
    tokens = data.train.tokens()
    generator = torch.Generator().manual_seed(1337)
    begin = time.perf_counter()
    for step in range(steps):
        starts = torch.randint(len(tokens) - recipe.max_seq_len, (recipe.batch_size,), generator=generator)
        batch = window_batch(tokens, starts.tolist(), length=recipe.max_seq_len + 1)
        logits, _ = model.next_token_logits(batch[:, :-1], ())
        torch.autograd.backward(F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()))
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip_norm)
        optimizer.set_rates(nanogpt_rate(step) / recipe.learning_rate)
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - begin
    return scored("reference: nanoGPT on CPU", model, recipe, data, steps=steps, seconds=seconds)


def nanogpt_rate(step: int) -> float:
    """Its documented schedule: 100 steps of warm-up, then a cosine from 1e-3 to 1e-4 over 2,000 steps."""
    if step < 100:
        return 1e-3 * (step + 1) / 101
    share = (step - 100) / (2000 - 100)
    return 1e-4 + 0.5 * (1 + torch.cos(torch.tensor(share * torch.pi)).item()) * (1e-3 - 1e-4)


def scored(name: str, model: LanguageModel, recipe: Recipe, data: Text, *, steps: int, seconds: float) -> Row:
    """Every character of the last tenth, once."""
    likelihood = score(model, data.validation, recipe=recipe, device=select_device("cpu"))
    metrics = language_metrics(likelihood, data.validation.facts)
    return Row(
        name=name,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        steps=steps,
        seconds=seconds,
        nats_per_char=metrics.loss,
        bits_per_byte=metrics.bits_per_byte,
        protocol=likelihood.protocol,
    )


def show(rows: list[Row]) -> None:
    """The table."""
    print(
        f"{'recipe':28} {'parameters':>10} {'steps':>6} {'seconds':>8} {'nats/char':>9} {'bits/byte':>9} {'gain':>7}"
    )
    for row in rows:
        gain = rows[0].nats_per_char - row.nats_per_char
        print(
            f"{row.name:28} {row.num_parameters:>10,} {row.steps:>6,} {row.seconds:>8.1f} "
            f"{row.nats_per_char:>9.4f} {row.bits_per_byte:>9.4f} {gain:>+7.4f}"
        )
    for row in rows:
        print(f"{row.name}: {row.protocol}")


if __name__ == "__main__":
    main()
