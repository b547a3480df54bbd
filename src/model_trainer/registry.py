"""Finds families and tokenizers: our own folders first, then other distributions' entry points.

Torch-free: it imports a family's or tokenizer's face, never its backend.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from types import ModuleType
from typing import Protocol, TypeVar

from pydantic import ValidationError

import model_trainer.models
import model_trainer.tokenizers
from model_trainer.core.contracts.base import JsonObject, parse_json_object
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.contracts.training import TrainSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault, faults_of
from model_trainer.models.family import Family
from model_trainer.tokenizers.kind import TokenizerKind

MODELS_GROUP = "model_trainer.models"
TOKENIZERS_GROUP = "model_trainer.tokenizers"

T = TypeVar("T")


class PlugIn(Protocol):
    """An entry point, as far as it is used here."""

    @property
    def name(self) -> str: ...

    @property
    def value(self) -> str: ...

    def load(self) -> object: ...


EntryPoints = Callable[[str], Iterable[PlugIn]]


class Registry:
    """What this installation can train."""

    def __init__(self, *, families: Iterable[Family], tokenizers: Iterable[TokenizerKind]) -> None:
        self._families = _by_name((family.name, family) for family in families)
        self._tokenizers = _by_name((kind.name, kind) for kind in tokenizers)

    @classmethod
    def discover(cls, *, points: EntryPoints | None = None) -> "Registry":
        """Everything installed; raises CONFIG_INVALID for two of one name and for what cannot be loaded.

        Args:
            points: gives the entry points of a group; those of the installed distributions when left out.
        """
        find = points or _installed
        families = [*_folders(model_trainer.models, "FAMILY"), *map(_loaded, find(MODELS_GROUP))]
        tokenizers = [*_folders(model_trainer.tokenizers, "TOKENIZER"), *map(_loaded, find(TOKENIZERS_GROUP))]
        return cls(families=_checked(families, _as_family), tokenizers=_checked(tokenizers, _as_tokenizer))

    def families(self) -> Mapping[str, Family]:
        """Families by name, sorted."""
        return self._families

    def tokenizers(self) -> Mapping[str, TokenizerKind]:
        """Kinds of tokenizer by name, sorted."""
        return self._tokenizers

    def family(self, name: str) -> Family:
        """The family called `name`; raises FAMILY_UNKNOWN with the known ones."""
        found = self._families.get(name)
        if found is None:
            raise _unknown(ErrorCode.FAMILY_UNKNOWN, "model_family", name, self._families)
        return found

    def tokenizer(self, name: str) -> TokenizerKind:
        """The kind of tokenizer called `name`; raises TOKENIZER_UNKNOWN with the known ones."""
        found = self._tokenizers.get(name)
        if found is None:
            raise _unknown(ErrorCode.TOKENIZER_UNKNOWN, "method", name, self._tokenizers)
        return found

    def missing_modules(self, kind: TokenizerKind) -> tuple[str, ...]:
        """Modules this kind needs and this installation lacks."""
        return tuple(name for name in kind.requires if importlib.util.find_spec(name) is None)

    def parse_train_spec(self, body: bytes | str) -> TrainSpec:
        """A training request; the family named in it says what else belongs there. Raises CONFIG_INVALID."""
        family = self.family(_discriminator(parse_json_object(body), "model_family", self._families))
        try:
            return family.spec.model_validate_json(body)
        except ValidationError as error:
            raise _invalid(error) from error

    def parse_tokenizer_spec(self, body: bytes | str) -> TokenizerSpec:
        """A tokenizer request; its method says what else belongs there. Raises CONFIG_INVALID."""
        kind = self.tokenizer(_discriminator(parse_json_object(body), "method", self._tokenizers))
        try:
            return kind.spec.model_validate_json(body)
        except ValidationError as error:
            raise _invalid(error) from error


def _folders(package: ModuleType, face: str) -> list[tuple[str, object]]:
    """(where, object) for each sub-package; a plain module beside them is not a family."""
    found: list[tuple[str, object]] = []
    for info in pkgutil.iter_modules(package.__path__):
        if info.ispkg:
            name = f"{package.__name__}.{info.name}"
            value: object = getattr(importlib.import_module(name), face, None)
            found.append((name, value))
    return found


def _installed(group: str) -> Iterable[PlugIn]:
    return entry_points(group=group)


def _loaded(point: PlugIn) -> tuple[str, object]:
    where = f"{point.name} ({point.value})"
    try:
        return where, point.load()
    except (ImportError, AttributeError) as error:
        message = f"The plug-in {where} cannot be loaded: {error}. Repair or uninstall it."
        raise AppError(ErrorCode.CONFIG_INVALID, message) from error


def _as_family(value: object) -> Family | None:
    return value if isinstance(value, Family) else None


def _as_tokenizer(value: object) -> TokenizerKind | None:
    return value if isinstance(value, TokenizerKind) else None


def _checked(found: Iterable[tuple[str, object]], as_wanted: Callable[[object], T | None]) -> list[T]:
    checked: list[T] = []
    for where, value in found:
        wanted = as_wanted(value)
        if wanted is None:
            message = f"{where} does not offer what a plug-in of its kind must; see models/family.py and tokenizers/kind.py."
            raise AppError(ErrorCode.CONFIG_INVALID, message)
        checked.append(wanted)
    return checked


def _by_name(pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    named: dict[str, T] = {}
    for name, value in pairs:
        if name in named:
            raise AppError(
                ErrorCode.CONFIG_INVALID, f"Two plug-ins are called {name!r}; uninstall one of them."
            )
        named[name] = value
    return {name: named[name] for name in sorted(named)}


def _discriminator(body: JsonObject, field: str, known: Mapping[str, object]) -> str:
    value = body.get(field)
    if not isinstance(value, str):
        fault = FieldFault(pointer=f"/{field}", message=f"must be one of: {', '.join(known)}")
        raise AppError(ErrorCode.CONFIG_INVALID, f"{field} is missing.", faults=[fault])
    return value


def _unknown(code: ErrorCode, field: str, name: str, known: Mapping[str, object]) -> AppError:
    fault = FieldFault(pointer=f"/{field}", message=f"must be one of: {', '.join(known)}")
    return AppError(code, f"{field} {name[:80]!r} is not known here.", faults=[fault])


def _invalid(error: ValidationError) -> AppError:
    faults = faults_of(error)
    named = ", ".join(fault.pointer or "/" for fault in faults[:5])
    return AppError(ErrorCode.CONFIG_INVALID, f"The request does not fit: see {named}.", faults=faults)
