"""How a file may be sent: as it is, in one encoding, with a digest that is one."""

import re

from starlette.datastructures import Headers

from model_trainer.core.contracts.files import is_file_id
from model_trainer.core.errors import AppError, ErrorCode, FieldFault

DIGEST_HEADER = "X-Content-SHA256"
OFFSET_HEADER = "Upload-Offset"
FORMS = ("multipart/", "application/x-www-form-urlencoded")
_OFFSET = re.compile(r"[0-9]{1,18}")


def check_raw(headers: Headers) -> None:
    """Raises CONFIG_INVALID for a form, and for a body that would have to be unpacked first."""
    media_type = headers.get("content-type", "").strip().lower()
    if media_type.startswith(FORMS):
        raise _refused(
            "Content-Type",
            "Send the bytes of the file as the body, not a form: curl --data-binary @news.jsonl -H 'Content-Type: "
            "application/octet-stream', or `model-trainer file upload`.",
        )
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _refused(
            "Content-Encoding", "Send the file as it is: its digest is taken from the bytes that come."
        )


def announced_digest(headers: Headers) -> str | None:
    """The SHA-256 that the sender says the file has; raises CONFIG_INVALID for what is no digest."""
    values = headers.getlist(DIGEST_HEADER)
    if not values:
        return None
    if len(values) > 1 or not is_file_id(values[0]):
        raise _refused(DIGEST_HEADER, "Send one SHA-256 of 64 hexadecimal digits, lower case.")
    return values[0]


def announced_offset(headers: Headers) -> int:
    """Where a part begins; raises CONFIG_INVALID where that is not said."""
    values = headers.getlist(OFFSET_HEADER)
    if len(values) != 1 or _OFFSET.fullmatch(values[0]) is None:
        raise _refused(
            OFFSET_HEADER,
            "Say where the part begins, in bytes, as HEAD on the upload tells: Upload-Offset: 0.",
        )
    return int(values[0])


def _refused(header: str, message: str) -> AppError:
    return AppError(
        ErrorCode.CONFIG_INVALID, message, faults=[FieldFault(pointer=f"/header/{header}", message=message)]
    )
