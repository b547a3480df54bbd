"""Finds everything of the bot that makes something to be shown."""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator

import model_trainer.discord_bot


def formatters() -> Iterator[str]:
    """All public functions and methods of the bot that make something to be shown."""
    package = model_trainer.discord_bot
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        for name, one in vars(module).items():
            if getattr(one, "__module__", "") != info.name or name.startswith("_"):
                continue
            if inspect.isfunction(one) and makes_something(one):
                yield f"{info.name.removeprefix(package.__name__ + '.')}.{name}"
            if inspect.isclass(one):
                for part, method in vars(one).items():
                    if not part.startswith("_") and inspect.isfunction(method) and makes_something(method):
                        yield f"{info.name.removeprefix(package.__name__ + '.')}.{name}.{part}"


def makes_something(one: Callable[..., object]) -> bool:
    """By its return type."""
    made = typing.get_type_hints(one).get("return")
    kinds = ("SafeText", "card.Card", "card.Answer", "card.Field", "card.Button", "card.Suggestion")
    return made == (bytes | None) or any(kind in repr(made) for kind in kinds)
