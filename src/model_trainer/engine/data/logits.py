"""Logits of labelled texts on disk: val_logits.npz and test_logits.npz. All that calibration and evaluation need to know.

One row a text; N rows. Attacked copies of some of the texts have their logits beside them.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically

LONGEST_NAME = 64
"""Characters kept of a domain's or a generator's name."""


@dataclass(frozen=True, slots=True)
class Logits:
    """A classifier's word on N texts. A text's logit is the mean of its windows'."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int8]
    """0 human, 1 AI."""
    groups: NDArray[np.int64]
    """Equal for texts of one source document."""
    num_words: NDArray[np.int32]
    domains: NDArray[np.str_]
    """Empty where unknown."""
    generators: NDArray[np.str_]
    text_sha256: str
    """Of texts and labels, in order."""
    attacked_rows: NDArray[np.int64]
    """Rows of which there are attacked copies; empty when there are none."""
    attacked: Mapping[str, NDArray[np.float64]]
    """Logits of the attacked copies, one for each of attacked_rows, by name of the attack."""

    def digest(self) -> str:
        """SHA-256 of logits and labels."""
        return hashlib.sha256(self.logits.tobytes() + self.labels.tobytes()).hexdigest()


def write_logits(logits: Logits, path: Path) -> None:
    """Writes `path` whole or not at all: an .npz without pickles, the same bytes for the same logits."""
    arrays: dict[str, NDArray[np.float64 | np.int8 | np.int64 | np.int32 | np.str_]] = {
        "logits": logits.logits,
        "labels": logits.labels,
        "groups": logits.groups,
        "num_words": logits.num_words,
        "domains": logits.domains,
        "generators": logits.generators,
        "text_sha256": np.array(logits.text_sha256, dtype=np.str_),
        "attacked_rows": logits.attacked_rows,
    }
    for name in logits.attacked:
        arrays[f"{_ATTACK}{name}"] = logits.attacked[name]
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def read_logits(path: Path) -> Logits:
    """What write_logits() wrote; raises ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT."""
    try:
        with path.open("rb") as file:
            arrays: Mapping[str, object] = NpzFile(file, allow_pickle=False)
            logits = _logits_in(arrays)
    except FileNotFoundError as error:
        raise AppError(
            ErrorCode.ARTIFACT_NOT_FOUND,
            f"{path.name} is not there. Train the detector first: training writes it.",
            facts={"path": path.name},
        ) from error
    except KeyError as error:
        raise _corrupt(path, "an array is missing in it") from error
    except (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise _corrupt(path, f"it cannot be read ({type(error).__name__})") from error
    _require_whole(logits, path)
    return logits


def _logits_in(arrays: Mapping[str, object]) -> Logits:
    return Logits(
        logits=np.asarray(arrays["logits"], dtype=np.float64),
        labels=np.asarray(arrays["labels"], dtype=np.int8),
        groups=np.asarray(arrays["groups"], dtype=np.int64),
        num_words=np.asarray(arrays["num_words"], dtype=np.int32),
        domains=np.asarray(arrays["domains"], dtype=np.str_),
        generators=np.asarray(arrays["generators"], dtype=np.str_),
        text_sha256=str(arrays["text_sha256"]),
        attacked_rows=np.asarray(arrays["attacked_rows"], dtype=np.int64),
        attacked={
            name.removeprefix(_ATTACK): np.asarray(arrays[name], dtype=np.float64)
            for name in arrays
            if name.startswith(_ATTACK)
        },
    )


def _require_whole(logits: Logits, path: Path) -> None:
    """What all who read logits rely on: numbers, two classes, as many of each thing as there are rows."""
    number = logits.logits.shape
    shapes = {
        logits.labels.shape,
        logits.groups.shape,
        logits.num_words.shape,
        logits.domains.shape,
        logits.generators.shape,
    }
    if len(number) != 1 or shapes != {number}:
        raise _corrupt(path, "its arrays differ in length")
    copies = logits.attacked_rows
    if copies.ndim != 1 or any(logits.attacked[name].shape != copies.shape for name in logits.attacked):
        raise _corrupt(path, "its attacked copies differ in number")
    if not _is_finite(logits.logits) or not all(
        _is_finite(logits.attacked[name]) for name in logits.attacked
    ):
        raise _corrupt(path, "a logit is not a finite number")
    known: NDArray[np.bool_] = np.isin(logits.labels, (0, 1))
    if not np.all(known):
        raise _corrupt(path, "a label is neither 0 nor 1")
    there: NDArray[np.bool_] = np.isin(copies, np.arange(number[0]))
    if not np.all(there):
        raise _corrupt(path, "it has attacked copies of rows that are not there")


def _is_finite(values: NDArray[np.float64]) -> bool:
    return bool(np.all(np.isfinite(values)))


def _corrupt(path: Path, why: str) -> AppError:
    return AppError(
        ErrorCode.ARTIFACT_CORRUPT,
        f"{path.name}: {why}. Evaluate or train the detector again to write it anew.",
        facts={"path": path.name},
    )


_ATTACK = "attack_"
