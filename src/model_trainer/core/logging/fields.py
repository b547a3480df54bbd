"""Every field a log line may carry, declared once; mypy holds each call to it."""

from typing import TypedDict


class LogFields(TypedDict, total=False):
    """All optional. timestamp, level, logger, message, service and instance_id are set by the set-up."""

    category: str
    request_id: str
    run_id: str | None
    tokenizer_id: str
    evaluation_id: str
    user_id: str | None
    worker_id: str
    queue: str
    job: str
    epoch: int
    attempt: int
    phase: str
    status: str
    reason: str
    error_code: str
    failure_class: str
    detail: str
    method: str
    path: str
    route: str
    status_code: int
    duration_seconds: float
    num_bytes: int
    num_files: int
    num_documents: int
    num_tokens: int
    num_parameters: int
    step: int
    total_steps: int
    loss: float
    validation_loss: float
    perplexity: float
    bits_per_byte: float
    learning_rate: float
    tokens_per_second: float
    vocab_size: int
    family: str
    device: str
    precision: str
    host: str
    port: int
    pid: int
    process: str
    exit_code: int
    signal: int
    num_rescued: int
    files_deleted: int
    bytes_freed: int
    dry_run: bool
    version: str
    line: str
