"""What went wrong, in one short sentence of our own: nothing of an error's message, which may name files, hosts or text."""

import re
from collections.abc import Collection, Sequence
from typing import assert_never

from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.errors import AppError, ErrorCode, FieldFault, Reason
from model_trainer.core.errors.app_error import Fact
from model_trainer.discord_bot.cards.card import Card, SafeText
from model_trainer.discord_bot.cards.safe_text import joined, say

MOST_FIELDS_NAMED = 5
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}(?:\.[a-z][a-z0-9_]{0,39}){0,3}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def error_card(error: AppError, *, known: Collection[str] = ()) -> Card:
    """An error of the API, or of ours, as somebody who asked for something sees it; `known` as for error_text."""
    return Card(title=SafeText("That did not work"), text=error_text(error, known=known), tone="bad")


def error_text(error: AppError, *, known: Collection[str] = ()) -> SafeText:
    """What to do about it, which fields are wrong, and the request by which the server's log knows it.

    `known`: the fields of the request's schema, with dots between; no others are named, for what else stands in a
    pointer was made up by somebody.
    """
    named = _fields(error.faults, known)
    return joined(
        [
            sentence(error.code),
            *([say("Look at: {fields}.", fields=", ".join(named))] if named else []),
            *_request(error.facts.get("request_id")),
        ],
        " ",
    )


def sentence(code: ErrorCode) -> SafeText:  # noqa: C901 - one line a code, and mypy sees when one is missing
    """What happened and what to do, by code alone; for answers of the API as for runs that failed."""
    match code:
        case ErrorCode.UNAUTHORIZED:
            text = "The API does not take the bot's key: check `SECURITY__API_KEY` in its settings."
        case ErrorCode.NOT_FOUND:
            text = "The API does not know this: is `API_BASE_URL` right, and the server as new as the bot?"
        case ErrorCode.RUN_NOT_FOUND:
            text = "There is no run with this id: /trainer runs lists those there are."
        case ErrorCode.TOKENIZER_NOT_FOUND:
            text = "There is no tokenizer with this id: choose one that is suggested."
        case ErrorCode.ARTIFACT_NOT_FOUND:
            text = "There is no such artifact: it was not made yet, or it was removed."
        case ErrorCode.FILE_NOT_FOUND:
            text = "The store has no such file: send it again."
        case ErrorCode.REQUEST_NOT_FOUND:
            text = "This question is not known any more: ask it again."
        case ErrorCode.DIGEST_MISMATCH:
            text = "What arrived is not what was sent: send it again."
        case ErrorCode.METHOD_NOT_ALLOWED:
            text = "The API does not do this: is the server as new as the bot?"
        case ErrorCode.CONFIG_INVALID:
            text = "Some settings do not fit, alone or together; the server's log says why."
        case ErrorCode.REQUEST_TOO_LARGE:
            text = "The request is too large: leave something out."
        case ErrorCode.RANGE_NOT_SATISFIABLE:
            text = "The file is shorter than what was asked for: ask from its beginning."
        case ErrorCode.FAMILY_UNKNOWN:
            text = "The server cannot train this family: choose one that is suggested."
        case ErrorCode.TOKENIZER_UNKNOWN:
            text = "The server does not know this kind of tokenizer: choose another."
        case ErrorCode.TOKENIZER_UNAVAILABLE:
            text = "The server lacks what this tokenizer needs: install its extra there, or choose another."
        case ErrorCode.TOKENIZER_MISMATCH:
            text = "This tokenizer does not fit: choose another, or another family."
        case ErrorCode.DEVICE_UNAVAILABLE:
            text = "No worker has this device: choose auto or cpu."
        case ErrorCode.MODEL_TOO_LARGE:
            text = "The model does not fit into the worker's memory: choose smaller sizes or a smaller batch."
        case ErrorCode.DATA_NOT_FOUND:
            text = "The data is not there: check the corpus under the server's data root."
        case ErrorCode.DATA_PATH_FORBIDDEN:
            text = "The corpus must lie under the server's data root."
        case ErrorCode.DATA_EMPTY:
            text = "There is nothing to read in the data: choose another corpus."
        case ErrorCode.DATA_TOO_SMALL:
            text = "There is too little data for these settings: add some, or choose smaller sizes."
        case ErrorCode.DATA_FORMAT_UNSUPPORTED:
            text = "The data has a format that cannot be read: use text, JSON lines or Parquet."
        case ErrorCode.DATA_ENCODING_INVALID:
            text = "The data is not UTF-8: convert it, or set `encoding_errors` to replace."
        case ErrorCode.DATA_CHANGED:
            text = "The data has changed since the run began: put it back, or order a new run."
        case ErrorCode.VOCAB_TOO_LARGE:
            text = "The data cannot give so large a vocabulary: choose a smaller `vocab_size`."
        case ErrorCode.CONFLICT:
            text = "This cannot be done where the run stands now: look at its status."
        case ErrorCode.IDEMPOTENCY_KEY_REUSED:
            text = "This was ordered before with other settings: order it anew."
        case ErrorCode.DIVERGED:
            text = "The loss ran away: choose a lower learning rate, or a longer warm-up."
        case ErrorCode.TOKENIZER_TRAIN_FAILED:
            text = "The tokenizer could not be trained; the server's log has the details."
        case ErrorCode.MODEL_TRAIN_FAILED:
            text = "The training broke off; the server's log has the details."
        case ErrorCode.EVALUATION_FAILED:
            text = "The evaluation broke off; the server's log has the details."
        case ErrorCode.ARTIFACT_CORRUPT:
            text = "The artifact is damaged: make it again."
        case ErrorCode.CHECKPOINT_INVALID:
            text = "No checkpoint of it can be used: order a new run."
        case ErrorCode.CHECKPOINT_NOT_WRITTEN:
            text = "A checkpoint could not be written: try again when the server's disk is well."
        case ErrorCode.STORAGE_READ_ONLY:
            text = "The server's artifact folder cannot be written to: mend that first."
        case ErrorCode.LEASE_LOST:
            text = "Another worker has taken it over: look at its status."
        case ErrorCode.WORKER_LOST:
            text = "Its worker has gone: try again when one is there."
        case ErrorCode.JOB_TIMEOUT:
            text = "It ran longer than a job may: ask for fewer steps, or allow jobs more time."
        case ErrorCode.OUT_OF_MEMORY:
            text = "The memory did not suffice: choose smaller sizes or a smaller batch."
        case ErrorCode.DISK_FULL:
            text = "The server's disk is full: make room, then try again."
        case ErrorCode.STORE_UNAVAILABLE:
            text = "The server's store is away: try again in a minute."
        case ErrorCode.SERVICE_UNAVAILABLE:
            text = "The API does not answer, or not yet: try again in a minute."
        case ErrorCode.STACK_FAILED:
            text = "The service has not come up: its log has the details."
        case ErrorCode.INTERNAL:
            text = "Something broke on the server; its log has the details."
        case _:
            assert_never(code)
    return SafeText(text)


def reason_sentence(reason: Reason | None) -> SafeText:
    """Why a run stands still, and who lets it go on."""
    match reason:
        case None | Reason.USER_CANCELLED:
            text = "Somebody asked for it; it keeps its last checkpoint."
        case Reason.DISK_FULL:
            text = "There is no disk space left; it goes on by itself when there is."
        case Reason.STORE_UNAVAILABLE:
            text = "The store is away; it goes on by itself when that is back."
        case Reason.OUT_OF_MEMORY:
            text = "The memory did not suffice."
        case Reason.WORKER_LOST:
            text = "Its worker has gone."
        case Reason.TIMEOUT:
            text = "It took longer than it may."
        case Reason.NAN_LOSS:
            text = "The loss ran away."
        case Reason.INVALID_DATA | Reason.INVALID_CONFIG:
            text = "Its data or its settings do not fit."
        case Reason.INTERNAL_ERROR:
            text = "Something broke; the server's log has the details."
        case _:
            assert_never(reason)
    return SafeText(text)


def _fields(faults: Sequence[FieldFault], known: Collection[str]) -> list[str]:
    """Each once; without places in lists."""
    named: list[str] = []
    for fault in faults:
        field = ".".join(part for part in fault.pointer.split("/") if part and not part.isdigit())
        if field in known and field not in named and _FIELD.fullmatch(field) is not None:
            named.append(field)
    return named[:MOST_FIELDS_NAMED]


def _request(request_id: Fact) -> list[SafeText]:
    """Ours are ULIDs, those of proxies mostly UUIDs; what looks like anything else is not worth the risk."""
    if isinstance(request_id, str) and (is_ulid(request_id) or _UUID.fullmatch(request_id) is not None):
        return [say("(request {request_id})", request_id=request_id)]
    return []
