"""Every test of settings begins with an environment that says nothing of them."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from model_trainer.core.config.settings import GROUPS, Settings, process_environment


def variables(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The name of every environment variable that is a setting."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from variables(inner, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


ALL = tuple(variables(Settings))


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in process_environment():
        if name.upper() in ALL or name.lower().split("__")[0] in GROUPS:
            monkeypatch.delenv(name)
