"""Imports before the fork, so that a forked child starts at once.

Import only: a parallel tensor operation before the fork would hang every child, so nothing is computed here.
"""

import importlib
from collections.abc import Sequence

from model_trainer.models.family import DetectorFamily, LanguageFamily
from model_trainer.registry import Registry

JOBS = (
    "model_trainer.worker.train_model",
    "model_trainer.worker.train_tokenizer",
    "model_trainer.worker.evaluate_model",
    # What torch imports when the first optimizer is made. Measured: 1.2 s on a quiet machine, up to 4 s on a busy one, in
    # every forked child that the worker did not spare it.
    "torch._dynamo",
)
"""What carries jobs out."""


def preload(registry: Registry, *, modules: Sequence[str] = JOBS) -> None:
    """Imports `modules`, and what the families and tokenizers of this installation need."""
    for name in modules:
        importlib.import_module(name)
    for family in registry.families().values():
        if isinstance(family, LanguageFamily):
            family.backend()
        if isinstance(family, DetectorFamily):
            family.classifier()
    for kind in registry.tokenizers().values():
        if not registry.missing_modules(kind):
            kind.backend()
