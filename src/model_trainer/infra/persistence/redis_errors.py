"""redis-py's errors by name and as ours. A store that cannot be used for now is not a store that refuses."""

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

_PASSING = (CONNECTION_ERROR, TIMEOUT_ERROR, READ_ONLY_ERROR, OUT_OF_MEMORY_ERROR, NO_PERMISSION_ERROR)
_PASSING_PREFIXES = ("MISCONF", "LOADING", "BUSY", "NOAUTH", "NOREPLICAS", "MASTERDOWN", "READONLY", "OOM")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turns redis-py's errors into ours."""
    try:
        yield
    except REDIS_ERROR as error:
        facts = {"detail": f"{type(error).__name__}: {error}"}
        if isinstance(error, _PASSING) or str(error).startswith(_PASSING_PREFIXES):
            message = "Redis cannot be used right now. Check that it runs and that REDIS_URL is right, then try again."
            raise AppError(ErrorCode.STORE_UNAVAILABLE, message, facts=facts) from error
        message = "Redis refused a command. The service's log has the details."
        raise AppError(ErrorCode.INTERNAL, message, facts=facts) from error
