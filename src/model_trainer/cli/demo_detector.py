"""The detector's whole path once, without a server and without a download.

A small language model learns from half of the text that every Python brings along. It then continues passages of the other
half, which it has not seen; those passages themselves are the human side. A detector learns to tell the two apart, is
calibrated, exported and tried.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from model_trainer.cli.demo_corpus import standard_library, write_demo_corpus
from model_trainer.cli.detecting import FAMILY
from model_trainer.cli.detector_files import show_artifact
from model_trainer.cli.detector_tables import evaluation_table
from model_trainer.cli.local import LocalWork, completed, settings_in
from model_trainer.cli.output import printable
from model_trainer.cli.rendering import plain_table
from model_trainer.cli.session import Session
from model_trainer.container import Container, local
from model_trainer.core import artifact_files as files
from model_trainer.core.contracts.base import Contract, JsonObject, as_json
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.prediction import Prediction
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.files import write_atomically
from model_trainer.engine.devices import select_device, set_threads
from model_trainer.engine.evaluation.samples import SamplingPlan, sample
from model_trainer.serving.detector import Detector
from model_trainer.worker.trained import load_trained

TOKENIZER: JsonObject = {"method": "bpe", "holdout_fraction": 0.05}
WRITER: JsonObject = {"model_family": "gpt2", "holdout_fraction": 0.05, "max_seq_len": 128}
WRITER_STEPS = 600
NUM_PAIRS = 300
PROMPT_WORDS = 12
PASSAGE_WORDS = 70
"""At most, and of both sides as many, so that length tells nothing."""
PASSAGE_TOKENS = 130
"""Enough for so many words, mostly."""
_NOTE_EVERY = 30
TRIED = 3
"""Pairs that the finished bundle judges before your eyes."""


@dataclass(frozen=True, slots=True)
class DetectorDemo:
    """How large it all is."""

    state: Path
    library: Path
    steps: int = WRITER_STEPS
    num_pairs: int = NUM_PAIRS
    vocab_size: int = 4096


class DetectorDemoReport(Contract):
    """What came out and where it lies."""

    writer_run_id: str
    run_id: str
    labelled: str
    output: str
    evaluation: DetectorEvaluation
    tried: tuple[Prediction, ...]
    texts: tuple[str, ...]


def run_plan(session: Session, demo: DetectorDemo) -> DetectorDemoReport:
    """Everything stays in the state folder."""
    settings = settings_in(demo.state, session.settings())
    session.ways.doors.log_quietly(settings)
    container = local(settings)
    work = LocalWork(container, session.output)
    corpus = demo.state / "corpus"
    write_demo_corpus(corpus / "source", library=demo.library)
    passages = (corpus / "source" / "prose.txt").read_text(encoding="utf-8").split("\n\n")
    half = len(passages) // 2
    human = human_side(passages[half:], demo.num_pairs)
    learnt = corpus / "writer" / "prose.txt"
    learnt.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(learnt, "\n\n".join(passages[:half]).encode())
    session.output.note("A tokenizer and a small GPT-2, on half of the standard library's prose ...")
    tokenizer = completed(
        work.train_tokenizer({**TOKENIZER, "vocab_size": demo.vocab_size, "corpus_path": str(learnt)})
    )
    writer = completed(
        work.train(
            {
                **WRITER,
                "corpus_path": str(learnt),
                "tokenizer_id": tokenizer.run_id,
                "max_steps": demo.steps,
            }
        )
    )
    session.output.note(f"It goes on from the first words of {len(human)} texts that it has not seen ...")
    pairs = write_pairs(container, writer.run_id, human, note=session.output.note)
    labelled = corpus / "labelled.jsonl"
    write_atomically(labelled, "".join(map(_rows, range(len(pairs)), pairs)).encode())
    session.output.note("A detector, on each text as it was written and as the model went on ...")
    detector = completed(
        work.train(
            {
                "model_family": FAMILY,
                "data_paths": [str(labelled)],
                "from_scratch": True,
                "columns": {"collapse_whitespace": True},
                "test_fraction": 0.2,
                "holdout_fraction": 0.2,
                "export": {"quantize": True},
            }
        )
    )
    output = demo.state / "detector"
    show_artifact(container.artifacts.folder("models", detector.run_id), output)
    texts = [text for pair in pairs[:TRIED] for text in pair]
    return DetectorDemoReport(
        writer_run_id=writer.run_id,
        run_id=detector.run_id,
        labelled=str(labelled),
        output=str(output),
        evaluation=DetectorEvaluation.model_validate_json((output / files.DETECTOR_METRICS).read_bytes()),
        tried=tuple(Detector.load(output / files.BUNDLE, threads=None).judge(texts)),
        texts=tuple(texts),
    )


def run_detector_demo(
    session: Session,
    *,
    state: str,
    steps: int | None,
    keep: bool,
    carry_out: Callable[[Session, DetectorDemo], DetectorDemoReport] = run_plan,
) -> None:
    """Trains a writer, lets it write, trains a detector; raises CONFIG_INVALID for `keep`."""
    if keep:
        message = "this demo starts no services that could stay: leave it out"
        raise AppError(
            ErrorCode.CONFIG_INVALID, f"--keep: {message}.", faults=[FieldFault("--keep", message)]
        )
    demo = DetectorDemo(state=Path(state).absolute(), library=standard_library(), steps=steps or WRITER_STEPS)
    report = carry_out(session, demo)
    session.output.show(as_json(report), render=lambda: render(report))
    session.output.notes().print(next_steps(report), soft_wrap=True)


def human_side(passages: Sequence[str], num_pairs: int) -> list[str]:
    """So many texts of one length, spread over the passages; each begins where a passage does, and a short one is read on
    into the next. Raises DATA_TOO_SMALL."""
    long_enough: list[str] = []
    words: list[str] = []
    for passage in passages:
        words += passage.split()
        if len(words) >= PASSAGE_WORDS:
            long_enough.append(" ".join(words[:PASSAGE_WORDS]))
            words = []
    if len(long_enough) < num_pairs:
        message = (
            f"The library has {len(long_enough)} texts of {PASSAGE_WORDS} words; {num_pairs} are needed."
        )
        raise AppError(ErrorCode.DATA_TOO_SMALL, message)
    return [long_enough[place * len(long_enough) // num_pairs] for place in range(num_pairs)]


def write_pairs(
    container: Container, writer_run_id: str, human: Sequence[str], *, note: Callable[[str], None]
) -> list[tuple[str, str]]:
    """Each human passage, and what the language model makes of its first words."""
    writer = load_trained(container.worker_parts("demo"), writer_run_id)
    set_threads(writer.recipe.cpu_threads)
    pairs: list[tuple[str, str]] = []
    for number, passage in enumerate(human):
        if number % _NOTE_EVERY == 0:
            note(f"writing       {number / len(human):4.0%}  {number}/{len(human)}")
        prompt = " ".join(passage.split()[:PROMPT_WORDS])
        (written,) = sample(
            writer.model,
            [prompt],
            plan=SamplingPlan(num_tokens=PASSAGE_TOKENS, temperature=0.9, top_k=0, seed=number),
            recipe=writer.recipe,
            device=select_device("cpu"),
            tokenizer=writer.tokenizer,
        )
        human_words, machine_words = passage.split(), f"{prompt}{written.text}".split()
        length = min(len(human_words), len(machine_words))
        pairs.append((" ".join(human_words[:length]), " ".join(machine_words[:length])))
    return pairs


def render(report: DetectorDemoReport) -> RenderableType:
    """Figures and a few verdicts."""
    rows = [
        (
            "human" if place % 2 == 0 else "AI",
            f"{judged.probability:.3f}",
            judged.band,
            printable(text[:60]) + " ...",
        )
        for place, (judged, text) in enumerate(zip(report.tried, report.texts, strict=True))
    ]
    return Group(
        evaluation_table(report.evaluation),
        Text(""),
        plain_table("written by", "probability of AI", "verdict", "text", rows=rows),
    )


def next_steps(report: DetectorDemoReport) -> Text:
    """Where things lie and what to try; every line is whole, to be copied. Beside the result, for readers of JSON as well."""
    lines = Text(f"\nAll of it: {report.output} (start with README.md and plots/)\n\nJudge more texts:\n")
    lines.append(
        f"  model-trainer predict --bundle-dir {report.output}/{files.BUNDLE} --data-path {report.labelled}\n",
        style="cyan",
    )
    return lines


def _rows(number: int, pair: tuple[str, str]) -> str:
    human, machine = pair
    rows = (
        {"text": human, "label": "human", "group": number, "generator": "human"},
        {"text": machine, "label": "ai", "group": number, "generator": "gpt2"},
    )
    return "".join(json.dumps(row) + "\n" for row in rows)
