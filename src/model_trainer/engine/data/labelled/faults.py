"""How labelled data is refused: file, row and column by name, and what to do."""

from model_trainer.core.errors import AppError, ErrorCode, FieldFault

_SHOWN = 40


def bad_file(file: str, why: str, *, code: ErrorCode = ErrorCode.DATA_FORMAT_UNSUPPORTED) -> AppError:
    """A file that cannot be read."""
    return AppError(
        code,
        f"{file}: {why}.",
        facts={"file": file},
        faults=[FieldFault("/data_paths", f"{file}: {why}")],
    )


def bad_row(
    file: str,
    row: int,
    why: str,
    *,
    column: str | None = None,
    code: ErrorCode = ErrorCode.DATA_FORMAT_UNSUPPORTED,
) -> AppError:
    """A row that cannot be read. Rows count from 1; in a .jsonl file a row is a line."""
    where = f"{file}, row {row}" if column is None else f"{file}, row {row}, column {column!r}"
    return AppError(
        code,
        f"{where}: {why}.",
        facts={"file": file, "row": row, "column": column},
        faults=[FieldFault("/data_paths", f"{where}: {why}")],
    )


def bad_field(pointer: str, why: str, *, file: str | None = None) -> AppError:
    """A choice of the request that this data does not allow."""
    message = why if file is None else f"{file}: {why}"
    return AppError(
        ErrorCode.CONFIG_INVALID,
        f"{message}.",
        facts={"file": file, "field": pointer},
        faults=[FieldFault(pointer, message)],
    )


def shown(value: str) -> str:
    """A short value as people see it in a message; a long one is cut."""
    return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")
