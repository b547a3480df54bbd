"""Structured logs: an event name and declared fields."""

from model_trainer.core.logging.fields import LogFields
from model_trainer.core.logging.logger import Logger, bind_context, get_logger
from model_trainer.core.logging.setup import ServiceName, configure_logging, log_also_to

__all__ = [
    "LogFields",
    "Logger",
    "ServiceName",
    "bind_context",
    "configure_logging",
    "get_logger",
    "log_also_to",
]
