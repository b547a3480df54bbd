"""The whole path once, over the API like everybody else: corpus, tokenizer, training, evaluation, report."""

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model_trainer.cli.boards import board_for
from model_trainer.cli.demo_corpus import standard_library, write_demo_corpus
from model_trainer.cli.demo_report import DemoReport, render_next_steps, render_report
from model_trainer.cli.session import Session
from model_trainer.cli.stack import (
    Address,
    free_address,
    require_fork,
    stack_processes,
    state_environment,
    wait_until_ready,
)
from model_trainer.cli.watching import follow_to_end
from model_trainer.client import TrainerClient
from model_trainer.core.contracts.base import JsonObject, as_json, parse_json_object
from model_trainer.core.errors import AppError, ErrorCode

Family = Literal["gpt2", "char_lstm"]
Afterwards = Callable[[Session, DemoReport], None]
CORPUS_NAME = "standard-library"
PROMPT = "The following example shows how to"
OWN_PREFIXES = ("APP__", "RQ__", "SECURITY__", "LOGGING__")
OWN_NAMES = frozenset({"REDIS_URL", "APP_ENV", "LOG_LEVEL", "API_BASE_URL"})

TOKENIZERS: Mapping[Family, JsonObject] = {
    "gpt2": {"method": "bpe", "vocab_size": 4096, "holdout_fraction": 0.05},
    "char_lstm": {"method": "char", "vocab_size": 1000, "holdout_fraction": 0.05},
}
MODELS: Mapping[Family, JsonObject] = {
    "gpt2": {"model_family": "gpt2", "holdout_fraction": 0.02, "sample_prompts": [PROMPT]},
    "char_lstm": {"model_family": "char_lstm", "holdout_fraction": 0.02, "sample_prompts": [PROMPT]},
}
STEPS: Mapping[Family, int] = {"gpt2": 600, "char_lstm": 1000}
"""What two cores do in some 75 seconds."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to train, where, on what."""

    family: Family
    state: Path
    library: Path
    steps: int
    source_bytes: int = 1_500_000


def run_demo(
    session: Session, *, model: Family, state: str, steps: int | None, afterwards: Afterwards
) -> None:
    """Trains on the standard library's text; what happens then is up to `afterwards`."""
    plan = DemoPlan(family=model, state=Path(state), library=standard_library(), steps=steps or STEPS[model])
    run_plan(session, plan, afterwards=afterwards, platform=sys.platform)


def leave(_session: Session, _report: DemoReport) -> None:
    """Stops at once."""


def stay(session: Session, report: DemoReport) -> None:
    """Waits for Ctrl-C."""
    session.output.note(f"The services stay up at {report.url} until Ctrl-C.")
    stopping = threading.Event()
    with session.ways.doors.stop_on_signals(stopping):
        stopping.wait()


def run_plan(session: Session, plan: DemoPlan, *, afterwards: Afterwards, platform: str) -> None:
    """Corpus, services, tokenizer, model, report; nothing is left running."""
    require_fork(platform)
    output = session.output
    environment = demo_environment(plan.state, session.ways.environment())
    corpus = write_demo_corpus(
        plan.state / "corpus" / CORPUS_NAME, library=plan.library, source_bytes=plan.source_bytes
    )
    output.note(f"Corpus: {corpus.num_bytes / 1e6:.1f} MB of English and code from Python's own library.")
    address = free_address("127.0.0.1", 0)
    stack = session.ways.doors.open_stack(plan.state, with_redis=True)
    with session.ways.connect(address.url, None) as client:
        processes = stack_processes(
            address, is_api_up=client.is_alive, env_file=None, log_folder=plan.state / "logs"
        )
        output.note("Starting Redis, the API and the workers ...")
        with stack.running(processes, env={**environment, "REDIS_URL": stack.redis_url}, on_up=_quietly):
            wait_until_ready(client, stopped=_never)
            report = train_and_evaluate(session, client, plan, address)
            output.show(as_json(report), render=lambda: render_report(report))
            tell_next_steps(session, report)
            afterwards(session, report)
    output.note("Everything has stopped; nothing is left running.")


def tell_next_steps(session: Session, report: DemoReport) -> None:
    """Beside the result, so that it is there for readers of JSON as well."""
    session.output.notes().print(render_next_steps(report), soft_wrap=True)


def train_and_evaluate(
    session: Session, client: TrainerClient, plan: DemoPlan, address: Address
) -> DemoReport:
    """Two requests, two runs to follow, and what came out."""
    corpus: JsonObject = {"corpus_path": CORPUS_NAME}
    tokenizer = client.train_tokenizer({**TOKENIZERS[plan.family], **corpus})
    session.output.note(f"POST /tokenizers/train -> {tokenizer.tokenizer_id}")
    follow(session, client, tokenizer.tokenizer_id)
    wanted: JsonObject = {"tokenizer_id": tokenizer.tokenizer_id, "max_steps": plan.steps}
    run = client.train({**MODELS[plan.family], **corpus, **wanted})
    session.output.note(f"POST /runs/train -> {run.run_id}")
    follow(session, client, run.run_id)
    evaluation = client.evaluations(run.run_id).of_language_model[0]
    sample = first_sample(client.read_file("models", run.run_id, path="eval/samples.jsonl"))
    artifacts = plan.state / "artifacts"
    return DemoReport(
        family=plan.family,
        run_id=run.run_id,
        tokenizer_id=tokenizer.tokenizer_id,
        url=address.url,
        state=str(plan.state),
        model_folder=str(artifacts / "models" / run.run_id),
        tokenizer_folder=str(artifacts / "tokenizers" / tokenizer.tokenizer_id),
        tokenizer_stats=client.tokenizer(tokenizer.tokenizer_id).stats or {},
        metrics=as_json(evaluation.metrics),
        prompt=text_of(sample, "prompt"),
        continuation=text_of(sample, "text"),
    )


def follow(session: Session, client: TrainerClient, run_id: str) -> None:
    """Shows a run to its end; raises what made it fail."""
    run = follow_to_end(client, run_id, board_for(session.output))
    if run.status != "completed":
        problem = run.problem
        known = problem is not None and problem.code in ErrorCode.__members__
        code = ErrorCode(problem.code) if problem is not None and known else ErrorCode.INTERNAL
        said = run.message if problem is None else problem.message
        raise AppError(code, f"Run {run_id} is {run.status}: {said}", facts={"run_id": run_id})


def first_sample(rows: bytes) -> JsonObject:
    """The first row of samples.jsonl; empty when there is none."""
    first = rows.partition(b"\n")[0]
    return parse_json_object(first) if first else {}


def text_of(row: JsonObject, field: str) -> str:
    """A text field."""
    value = row.get(field)
    return value if isinstance(value, str) else ""


def demo_environment(state: Path, base: Mapping[str, str]) -> dict[str, str]:
    """`base` without settings of an installation that happens to be set, and with everything kept in the state folder."""
    foreign = {name: value for name, value in base.items() if not is_own_name(name.upper())}
    return {**state_environment(state, foreign), "APP_ENV": "dev"}


def is_own_name(name: str) -> bool:
    """Whether a variable is one of our settings."""
    return name in OWN_NAMES or name.startswith(OWN_PREFIXES)


def _quietly(_name: str, _process_id: int) -> None:
    """Four lines about processes would only hide the bars."""


def _never() -> bool:
    return False
