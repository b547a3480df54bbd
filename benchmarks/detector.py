"""How well the detector does that a request gets which names nothing, against n-grams with logistic regression.

    python benchmarks/detector.py path/to/fast_detectgpt --json benchmarks/reports/detector.json

The folder has files `<domain>_<generator>.raw_data.json` of paired texts ({"original": [...], "sampled": [...]}, as
Fast-DetectGPT publishes them). White space is collapsed in all texts: line breaks alone would tell the classes apart. A pair
is one group, and so are all pairs that begin alike; groups never part. The floor (characters 2-4 and words 1-2 by TF-IDF,
logistic regression) learns from the very rows that the detector trains on; what the detector chooses, it chooses on its
validation rows; test rows are judged once.

Trainings: for each domain with pairs of the newest generator, one on the other domains (leave one domain out); one on the
generators with the most pairs and one on the newest ones, within their domains; one with shuffled labels.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline, make_union

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script sees its own folder alone

from benchmarks.detector_serving import ServingCost, serving_cost
from model_trainer.cli.local import settings_in
from model_trainer.container import local
from model_trainer.core import artifact_files as files
from model_trainer.core.config import load_settings
from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.jobs import TrainModel
from model_trainer.core.logging import configure_logging
from model_trainer.engine.data.logits import read_logits
from model_trainer.worker.dispatch import dispatch

SUFFIX = ".raw_data.json"
NEWEST = ("gpt-4", "gpt-3.5-turbo")
"""The generator that is tested on, and with it those that train: what speaks like an assistant. The older ones sample
freely and err in the opposite direction: n-grams trained on all of them are worse than chance on gpt-4."""
SAME_BEGINNING = 40
"""Characters: a generator is given the first words of the human text."""
VALIDATES = 0.15
"""Share of the groups to learn from."""
ROUNDS = 2000
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One text."""

    text: str
    label: int
    domain: str
    generator: str
    group: str


@dataclass(frozen=True)
class Scored:
    """Test rows as both have judged them."""

    labels: NDArray[np.int8]
    groups: NDArray[np.int64]
    floor: Scores
    detector: Scores


@dataclass(frozen=True)
class Trained:
    """One training and what it left."""

    logits: Scores
    evaluation: DetectorEvaluation
    seconds: float


def main(arguments: list[str]) -> int:
    """Measures, prints, and writes the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-serving", action="store_true", help="leave the int8 figures out")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=JSON", help="a field of the request"
    )
    options = parser.parse_args(arguments)
    if options.data is None:
        print("nothing measured: name a folder of labelled pairs")
        return 0
    configure_logging(service="model-trainer-cli", level="WARNING", readable=True)
    began = time.monotonic()
    rows = read_pairs(options.data)
    extra: JsonObject = {
        key: json.loads(value) for key, _, value in (text.partition("=") for text in options.set)
    }
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), seed=options.seed, extra=extra)
        report: JsonObject = {
            "seed": options.seed,
            "rows": len(rows),
            "request": extra,
            "leave_one_domain_out": left_out(bench, rows),
            "in_domain": within(bench, rows),
            "shuffled": shuffled(bench, rows),
        }
        if not options.no_serving:
            report["serving"] = told(serving_cost(Path(folder)))
    report["seconds"] = round(time.monotonic() - began, 1)
    print(f"{report['seconds']} s in all")
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def read_pairs(folder: Path) -> list[Row]:
    """Every text of every file, in order of the files' names."""
    rows: list[Row] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        domain, _, generator = path.name.removesuffix(SUFFIX).partition("_")
        pairs = json.loads(path.read_text())
        for texts in zip(pairs["original"], pairs["sampled"], strict=True):
            human, machine = (" ".join(text.split()) for text in texts)
            group = f"{domain}:{human.casefold()[:SAME_BEGINNING]}"
            rows.append(Row(human, 0, domain, generator, group))
            rows.append(Row(machine, 1, domain, generator, group))
    if not rows:
        raise SystemExit(f"no *{SUFFIX} in {folder}")
    return rows


class Bench:
    """Trains both on the same rows."""

    def __init__(self, folder: Path, *, seed: int, extra: JsonObject) -> None:
        self.seed = seed
        self._folder = folder
        self._extra = extra
        self._container = local(settings_in(folder, load_settings(env_file=None)))

    def compare(self, train: Sequence[Row], test: Sequence[Row]) -> tuple[Scored, Trained]:
        """The floor and the detector, trained on `train` without the groups that validate, judging `test`."""
        validates = chosen({row.group for row in train}, share=VALIDATES, seed=self.seed)
        learnt = [row for row in train if row.group not in validates]
        held = [row for row in train if row.group in validates]
        # A text that occurs twice (one human text for several generators) is one row, for both.
        learnt, held, test = once(learnt), once(held), once(test)
        trained = self._train({"train": learnt, "validation": held, "test": test})
        number = {group: place for place, group in enumerate(sorted({row.group for row in test}))}
        scored = Scored(
            labels=np.array([row.label for row in test], np.int8),
            groups=np.array([number[row.group] for row in test], np.int64),
            floor=floor_scores(learnt, test),
            detector=trained.logits,
        )
        return scored, trained

    def _train(self, splits: dict[str, list[Row]]) -> Trained:
        began = time.monotonic()
        table = self._folder / f"{new_ulid()}.jsonl"
        with table.open("w", encoding="utf-8") as file:
            for split, rows in splits.items():
                for row in rows:
                    named = "ai" if row.label else "human"
                    cells = {"text": row.text, "label": named, "domain": row.domain, "group": row.group}
                    generator = row.generator if row.label else named
                    file.write(json.dumps({**cells, "generator": generator, "split": split}) + "\n")
        body: JsonObject = {
            "model_family": "text_detector",
            "data_paths": [str(table)],
            "columns": {"split_col": "split", "collapse_whitespace": True},
            "from_scratch": True,
            "report": {"robustness": False, "bootstrap_samples": 200},
            "seed": self.seed,
            **self._extra,
        }
        spec = self._container.registry.parse_train_spec(dump_json(body))
        record = self._container.training.start(spec, request_id=new_ulid(), idempotency=None).record
        order = TrainModel(run_id=record.run_id, epoch=record.epoch)
        dispatch(order.model_dump_json(), self._container.worker_parts("benchmark"))
        ended = self._container.runs.get(record.run_id)
        if ended.status != "completed":
            raise SystemExit(f"{ended.status}: {ended.message} {ended.problem}")
        artifact = self._container.artifacts.folder("models", record.run_id)
        logits = read_logits(artifact / files.TEST_LOGITS)
        if logits.labels.tolist() != [row.label for row in splits["test"]]:
            raise SystemExit("the detector left test rows out: the two cannot be compared")
        evaluation = DetectorEvaluation.model_validate_json((artifact / files.DETECTOR_METRICS).read_bytes())
        return Trained(logits.logits, evaluation, time.monotonic() - began)


def once(rows: Iterable[Row]) -> list[Row]:
    """The first row of each text."""
    return list({" ".join(row.text.casefold().split()): row for row in reversed(list(rows))}.values())[::-1]


def chosen(groups: Iterable[str], *, share: float, seed: int) -> set[str]:
    """A seeded part of the groups."""
    ordered = sorted(groups)
    random.Random(seed).shuffle(ordered)
    return set(ordered[: round(len(ordered) * share)])


def floor_scores(train: Sequence[Row], test: Sequence[Row]) -> Scores:
    """Characters and words by TF-IDF, logistic regression."""
    model = make_pipeline(
        make_union(
            TfidfVectorizer(analyzer="char", ngram_range=(2, 4), min_df=2, sublinear_tf=True),
            TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        ),
        LogisticRegression(max_iter=1000),
    )
    model.fit([row.text for row in train], [row.label for row in train])
    return np.asarray(model.decision_function([row.text for row in test]), np.float64)


def tpr_at(fpr: float) -> Callable[[NDArray[np.int8], Scores], float]:
    """Share of AI texts above the threshold that lets at most `fpr` of these human texts through."""

    def measured(labels: NDArray[np.int8], scores: Scores) -> float:
        human = np.sort(scores[labels == 0])[::-1]
        allowed = int(fpr * len(human))
        return float(np.mean(scores[labels == 1] > human[allowed]))

    return measured


def auroc(labels: NDArray[np.int8], scores: Scores) -> float:
    """Area under the curve."""
    return float(roc_auc_score(labels, scores))


def paired(
    folds: Sequence[Scored], metric: Callable[[NDArray[np.int8], Scores], float], *, seed: int
) -> tuple[float, float]:
    """95 % of the mean difference over the folds, groups drawn again in each."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(ROUNDS):
        differences = []
        for fold in folds:
            drawn = generator.integers(0, fold.groups.max() + 1, fold.groups.max() + 1)
            counts = np.bincount(drawn, minlength=fold.groups.max() + 1)
            places = np.repeat(np.arange(len(fold.labels)), counts[fold.groups])
            labels = fold.labels[places]
            differences.append(metric(labels, fold.detector[places]) - metric(labels, fold.floor[places]))
        found.append(statistics.mean(differences))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def left_out(bench: Bench, rows: Sequence[Row]) -> JsonObject:
    """Trained on the other domains, tested on the newest generator's pairs in one."""
    folds: dict[str, Scored] = {}
    told_of: JsonObject = {}
    for domain in sorted({row.domain for row in rows if row.generator == NEWEST[0]}):
        train = [row for row in rows if row.domain != domain and row.generator in NEWEST]
        test = [row for row in rows if row.domain == domain and row.generator == NEWEST[0]]
        folds[domain], trained = bench.compare(train, test)
        told_of[domain] = line(f"without {domain}", folds[domain], trained, bench.seed)
    mean = {
        name: statistics.mean(auroc(fold.labels, getattr(fold, name)) for fold in folds.values())
        for name in ("floor", "detector")
    }
    low, high = paired(list(folds.values()), auroc, seed=bench.seed)
    print(
        f"mean ROC-AUC with a domain left out: floor {mean['floor']:.3f}, detector {mean['detector']:.3f}, "
        f"difference {mean['detector'] - mean['floor']:+.3f} [{low:+.3f}, {high:+.3f}]"
    )
    return {"train_generators": list(NEWEST), "folds": told_of, "mean": {**mean}, "difference": [low, high]}


def within(bench: Bench, rows: Sequence[Row]) -> JsonObject:
    """Trained and tested on the same domains, by groups."""
    pairs: dict[str, int] = {}
    for row in rows:
        pairs[row.generator] = pairs.get(row.generator, 0) + row.label
    most = {name for name, count in pairs.items() if 2 * count >= max(pairs.values())}
    found: JsonObject = {}
    for name, generators, tested in (
        ("most_pairs", most, most),
        ("newest", set(NEWEST), {NEWEST[0]}),
    ):
        here = [row for row in rows if row.generator in generators]
        tests = chosen({row.group for row in here}, share=0.2, seed=bench.seed + 1)
        scored, trained = bench.compare(
            [row for row in here if row.group not in tests],
            [row for row in here if row.group in tests and row.generator in tested],
        )
        found[name] = {
            "generators": [*sorted(generators)],
            **line(f"within, {name}", scored, trained, bench.seed),
        }
    return found


def shuffled(bench: Bench, rows: Sequence[Row]) -> JsonObject:
    """Labels dealt anew within the newest generators: nothing is left to be learnt."""
    here = [row for row in rows if row.generator in NEWEST]
    labels = [row.label for row in here]
    random.Random(bench.seed).shuffle(labels)
    dealt = [
        Row(row.text, label, row.domain, row.generator, row.group)
        for row, label in zip(here, labels, strict=True)
    ]
    tests = chosen({row.group for row in dealt}, share=0.3, seed=bench.seed + 2)
    scored, _ = bench.compare(
        [row for row in dealt if row.group not in tests], [row for row in dealt if row.group in tests]
    )
    value = auroc(scored.labels, scored.detector)
    human = int((scored.labels == 0).sum())
    machine = len(scored.labels) - human
    spread = 1.96 * ((human + machine + 1) / (12 * human * machine)) ** 0.5
    inside = abs(value - 0.5) <= spread
    print(
        f"shuffled labels: ROC-AUC {value:.3f}, luck alone 0.5 +- {spread:.3f}: {'inside' if inside else 'OUTSIDE'}"
    )
    return {"roc_auc": value, "spread": spread, "inside": inside}


def line(name: str, scored: Scored, trained: Trained, seed: int) -> JsonObject:
    """Prints one comparison and gives its figures."""
    found: JsonObject = {
        "num_human": int((scored.labels == 0).sum()),
        "num_ai": int((scored.labels == 1).sum()),
        "seconds": round(trained.seconds, 1),
    }
    parts = []
    for metric_name, metric in (("ROC-AUC", auroc), ("TPR@1%", tpr_at(0.01)), ("TPR@5%", tpr_at(0.05))):
        low, high = paired([scored], metric, seed=seed)
        floor, ours = metric(scored.labels, scored.floor), metric(scored.labels, scored.detector)
        found[metric_name] = {"floor": floor, "detector": ours, "difference": [low, high]}
        parts.append(f"{metric_name} {floor:.3f} -> {ours:.3f} [{low:+.3f}, {high:+.3f}]")
    promised = [(each, each.promised_fpr) for each in trained.evaluation.decisions]
    promises = {
        each.name: {
            "fpr": each.fpr_by_source or 0.0,
            "promised": [span.low, span.high],
            "inside": span.low <= (each.fpr_by_source or 0.0) <= span.high,
        }
        for each, span in promised
        if span is not None
    }
    found["promises"] = json.loads(json.dumps(promises))
    kept = ", ".join(
        f"{key} {value['fpr']:.3f} {'inside' if value['inside'] else 'OUTSIDE'}"
        for key, value in promises.items()
    )
    print(f"{name:28} {'; '.join(parts)}; FPR {kept or 'no promise'}; {trained.seconds:.0f} s", flush=True)
    return found


def told(cost: ServingCost) -> JsonObject:
    """Prints what int8 saves, and gives the figures."""
    print(
        f"DeBERTa-v3-base shape: int8 {cost.size_ratio:.3f} of the size; median latency "
        + ", ".join(f"{tokens} tokens {ratio:.2f}x" for tokens, ratio in cost.latency_ratios.items())
    )
    return cost.as_json()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
