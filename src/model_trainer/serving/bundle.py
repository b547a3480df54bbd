"""A runtime bundle on disk: its parts, and the proof that each of them is the one that was exported."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from model_trainer.core.artifact_files import CALIBRATION, MANIFEST, MODEL, ONNX, THRESHOLDS
from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector import Reading, WindowPlan
from model_trainer.core.contracts.prediction import BundleFile, BundleManifest
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import sha256_of

TOKENIZER = f"{MODEL}/tokenizer.json"
TOKENIZER_CONFIG = f"{MODEL}/tokenizer_config.json"
READING = "reading.json"
"""The tables of serving/reading.py, for programs that cannot import it."""
PARTS = (CALIBRATION, ONNX, TOKENIZER, TOKENIZER_CONFIG, READING, THRESHOLDS)
"""What every bundle has beside its manifest, sorted."""

_C = TypeVar("_C", bound=Contract)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose parts were all there and unchanged."""

    folder: Path
    manifest: BundleManifest
    calibration: Calibration

    @property
    def windows(self) -> WindowPlan:
        """How texts are cut."""
        told = self.manifest
        return WindowPlan(
            length=told.length,
            stride=told.stride,
            prefix=told.prefix,
            suffix=told.suffix,
            pad_id=told.pad_id,
        )

    @property
    def reading(self) -> Reading:
        """What is done to texts before."""
        return Reading(
            collapse_whitespace=self.manifest.collapse_whitespace,
            normalise_unicode=self.manifest.normalise_unicode,
        )


def open_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, with the digest of every part compared.

    Raises ARTIFACT_NOT_FOUND or ARTIFACT_CORRUPT naming the part: nothing stands in for a part that is missing.
    """
    if not folder.is_dir():
        raise AppError(
            ErrorCode.ARTIFACT_NOT_FOUND,
            f"There is no runtime bundle at {folder.name}/. Export the model (model-trainer export-onnx).",
            facts={"path": folder.name},
        )
    manifest = read_part(folder, MANIFEST, BundleManifest)
    try:
        return _opened(folder, manifest)
    except AppError:
        now = read_part(folder, MANIFEST, BundleManifest)
        if now == manifest:
            raise
        return _opened(folder, now)  # another export took its place between two parts


def is_still(bundle: Bundle) -> bool:
    """Whether the folder still holds the same export: another may have been put in its place since."""
    return read_part(bundle.folder, MANIFEST, BundleManifest) == bundle.manifest


def read_part(folder: Path, name: str, contract: type[_C]) -> _C:
    """A part that is JSON; raises ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT."""
    try:
        return contract.model_validate_json((folder / name).read_bytes())
    except FileNotFoundError as error:
        raise _missing(name) from error
    except ValidationError as error:
        raise _corrupt(name, "it does not fit this version") from error


def digest_of(folder: Path, name: str) -> BundleFile:
    """A part as a manifest lists it."""
    path = folder / name
    return BundleFile(path=name, num_bytes=path.stat().st_size, sha256=sha256_of(path))


def _opened(folder: Path, manifest: BundleManifest) -> Bundle:
    listed = {file.path: file for file in manifest.files}
    for part in PARTS:
        if part not in listed:
            raise _corrupt(part, "the manifest does not list it")
    for file in manifest.files:
        _verify(folder, file)
    return Bundle(folder=folder, manifest=manifest, calibration=read_part(folder, CALIBRATION, Calibration))


def _verify(folder: Path, file: BundleFile) -> None:
    try:
        found = digest_of(folder, file.path)
    except FileNotFoundError as error:
        raise _missing(file.path) from error
    if found != file:
        raise _corrupt(file.path, "it is not the file that was exported")


def _missing(part: str) -> AppError:
    return AppError(
        ErrorCode.ARTIFACT_NOT_FOUND,
        f"The runtime bundle lacks {part}. Nothing stands in for it: copy the whole folder, or export the model again.",
        facts={"part": part},
    )


def _corrupt(part: str, why: str) -> AppError:
    return AppError(
        ErrorCode.ARTIFACT_CORRUPT,
        f"The runtime bundle cannot be used because of {part}: {why}. Copy the whole folder anew, or export the model again.",
        facts={"part": part, "why": why},
    )
