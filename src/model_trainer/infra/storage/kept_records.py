"""Run records on disk: what Redis is rebuilt from when it has lost everything. Knows no store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import faults_of
from model_trainer.core.files import write_atomically
from model_trainer.core.ports.storage import KeptRecord
from model_trainer.infra.storage.file_lock import locked

RECORD_FILE = "record.json"


class RecordFile(Contract):
    """record.json: a record, and whose it is."""

    schema_version: Literal[1] = 1
    installation_id: str
    record: RunRecord


def keep_record(folder: Path, record: RunRecord, *, installation_id: str) -> None:
    """Writes record.json into the folder of the run, unless a newer one lies there; raises DISK_FULL."""
    with locked(folder, "alone"):  # the API and a worker may both have news of a run
        known = read_record(folder).record
        if known is not None and _age(known) > _age(record):
            return
        file = RecordFile(installation_id=installation_id, record=record)
        write_atomically(folder / RECORD_FILE, file.model_dump_json(indent=2).encode() + b"\n")


def read_records(runs_root: Path) -> Iterator[KeptRecord]:
    """What lies in each folder that is named like a run, oldest id first."""
    names = [path.name for path in runs_root.iterdir()] if runs_root.exists() else []
    for name in sorted(filter(is_ulid, names)):
        yield read_record(runs_root / name)


def read_record(folder: Path) -> KeptRecord:
    """The record in the folder of a run, or why there is none."""
    try:
        file = RecordFile.model_validate_json((folder / RECORD_FILE).read_bytes())
    except OSError as error:
        return _unreadable(folder, f"record.json cannot be read: {error.strerror}")
    except ValidationError as error:
        detail = "; ".join(f"{fault.pointer} {fault.message}" for fault in faults_of(error)[:3])
        return _unreadable(folder, f"record.json does not fit this version: {detail}")
    if file.record.run_id != folder.name:
        return _unreadable(folder, f"record.json is of run {file.record.run_id}")
    return KeptRecord(
        run_id=folder.name, record=file.record, installation_id=file.installation_id, problem=None
    )


def _age(record: RunRecord) -> tuple[int, int, int]:
    """A flag that somebody sets changes neither epoch nor events."""
    return record.epoch, record.last_event_seq, record.updated_at_ms


def _unreadable(folder: Path, why: str) -> KeptRecord:
    return KeptRecord(run_id=folder.name, record=None, installation_id=None, problem=why)
