"""What a job builds on, brought back from the store before it begins, and kept here until it has ended."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.waiting import FIRST_WAIT_SECONDS, wait_for_store

log = get_logger(__name__)

Item = tuple[ArtifactKind, str]


def items_needed(parts: WorkerParts, record: RunRecord) -> tuple[Item, ...]:
    """The model that a run is about or begins from, and the tokenizers of both, as far as their records tell."""
    specs, items = [record.spec], list[Item]()
    if record.parent_run_id is not None:
        items.append(("models", record.parent_run_id))
        specs += _spec_of(parts, record.parent_run_id)
    found = (spec.get("tokenizer_id") for spec in specs)
    items += [("tokenizers", each) for each in found if isinstance(each, str)]
    return tuple(sorted(set(items)))


@contextmanager
def brought_back(
    parts: WorkerParts,
    held: HeldRun,
    items: tuple[Item, ...],
    *,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
) -> Iterator[None]:
    """Inside, the items are here, and no clean-up takes them away. A store that is away is waited for.

    Raises what held.check() does, within moments. An item that cannot be had for another reason is left to the job, which
    knows the field that asks for it.
    """
    with ExitStack() as used:
        for kind, item_id in items:
            _bring_back(parts, held, used, kind, item_id, first_wait_seconds=first_wait_seconds)
        yield


def _bring_back(
    parts: WorkerParts,
    held: HeldRun,
    used: ExitStack,
    kind: ArtifactKind,
    item_id: str,
    *,
    first_wait_seconds: float,
) -> None:
    def report(done: int, total: int) -> None:
        held.report(done / total if total else 0.0, f"Fetching {item_id} ({kind}) from the store.")

    tries = 0
    while True:
        try:
            used.enter_context(parts.artifacts.use(kind, item_id, report=report))
            return
        except AppError as error:
            held.check()  # raises where this was a lease that is lost
            if error.code is not ErrorCode.STORE_UNAVAILABLE:
                log.info("not_brought_back", path=f"{kind}/{item_id}", error_code=error.code.value)
                return
            tries, away = tries + 1, error
        wait_for_store(held, away, tries=tries, first_wait_seconds=first_wait_seconds)


def _spec_of(parts: WorkerParts, run_id: str) -> list[JsonObject]:
    try:
        return [parts.other_run(run_id).spec]
    except AppError as error:
        log.info("not_brought_back", path=run_id, error_code=error.code.value)
        return []
