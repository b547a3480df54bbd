"""redis-py's errors by name and as ours. A store that cannot be used for now is not a store that refuses."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from model_trainer.core.errors import AppError, ErrorCode

REDIS_ERROR: type[Exception] = redis.RedisError
CONNECTION_ERROR: type[Exception] = redis.ConnectionError
WATCH_ERROR: type[Exception] = redis.WatchError
NO_SCRIPT_ERROR: type[Exception] = redis.exceptions.NoScriptError
TIMEOUT_ERROR: type[Exception] = redis.TimeoutError
READ_ONLY_ERROR: type[Exception] = redis.ReadOnlyError
OUT_OF_MEMORY_ERROR: type[Exception] = redis.OutOfMemoryError
NO_PERMISSION_ERROR: type[Exception] = redis.exceptions.NoPermissionError
MASTER_DOWN_ERROR: type[Exception] = redis.exceptions.MasterDownError

_PASSING = (
    WATCH_ERROR,  # a connection that broke under WATCH; a change of what is watched is heard at the commit
    CONNECTION_ERROR,  # starting, too many clients and a wrong password are among them
    TIMEOUT_ERROR,
    READ_ONLY_ERROR,
    OUT_OF_MEMORY_ERROR,
    NO_PERMISSION_ERROR,
    MASTER_DOWN_ERROR,
)
_PASSING_CODES = (
    "MISCONF", "LOADING", "BUSY", "NOAUTH", "WRONGPASS", "NOPERM", "NOREPLICAS", "MASTERDOWN", "READONLY", "OOM",
)  # fmt: skip
_REFUSED_IN_TRANSACTION = " of pipeline caused error: "
"""redis-py puts the command, which may hold anything, before the server's words."""
_REFUSED_IN_SCRIPT = re.compile(rf"@user_script:\s?\d+: -?({'|'.join(_PASSING_CODES)})\b")
"""Redis 6 names the script's line before the code."""


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turns redis-py's errors into ours."""
    try:
        yield
    except REDIS_ERROR as error:
        words = str(error).rpartition(_REFUSED_IN_TRANSACTION)[2]
        facts = {"detail": f"{type(error).__name__}: {words}"}
        if (
            isinstance(error, _PASSING)
            or words.startswith(_PASSING_CODES)
            or _REFUSED_IN_SCRIPT.search(words) is not None
        ):
            message = "Redis cannot be used right now. Check that it runs and that REDIS_URL is right, then try again."
            raise AppError(ErrorCode.STORE_UNAVAILABLE, message, facts=facts) from error
        message = "Redis refused a command. The service's log has the details."
        raise AppError(ErrorCode.INTERNAL, message, facts=facts) from error
