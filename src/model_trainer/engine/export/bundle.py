"""Writes runtime bundles: whole, and in the place of the one before at once."""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from model_trainer import __version__
from model_trainer.core.artifact_files import BUNDLE, CALIBRATION, MANIFEST, ONNX, THRESHOLDS
from model_trainer.core.contracts.base import Contract, dump_json
from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector import TrainingConfig
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.prediction import BundleManifest
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors, fsync_folder, write_atomically
from model_trainer.serving.bundle import PARTS, READING, TOKENIZER, TOKENIZER_CONFIG, digest_of, open_bundle
from model_trainer.serving.reading import tables


def write_bundle(
    artifact: Path, network: Path, *, config: TrainingConfig, calibration: Calibration, quantized: bool
) -> Path:
    """Puts runtime_bundle/ into the folder `artifact` (whose model/ has the tokenizer), with the .onnx file `network`.

    A reader finds the old bundle or the new one, and a crash leaves one of them; where the disk cannot exchange two folders
    there may be none for a moment, and never a part of one.
    """
    manifest = BundleManifest(
        run_id=config.run_id,
        model_family=config.model_family,
        created_by=f"model-trainer {__version__}",
        quantized=quantized,
        length=config.windows.length,
        stride=config.windows.stride,
        prefix=config.windows.prefix,
        suffix=config.windows.suffix,
        pad_id=config.windows.pad_id,
        collapse_whitespace=config.reading.collapse_whitespace,
        normalise_unicode=config.reading.normalise_unicode,
        files=(),
    )
    sources = {name: artifact / name for name in (TOKENIZER, TOKENIZER_CONFIG)}
    return _put(artifact, {ONNX: network, **sources}, manifest, calibration)


def refresh_bundle(artifact: Path, calibration: Calibration) -> Path:
    """The bundle in the folder `artifact` with another calibration; raises as open_bundle().

    int8 weights were let through by the verdicts of the calibration before: fp32 takes their place until they are tried
    again.
    """
    bundle = open_bundle(artifact / BUNDLE)
    sources = {name: bundle.folder / name for name in (ONNX, TOKENIZER, TOKENIZER_CONFIG)}
    if bundle.manifest.quantized:
        sources[ONNX] = artifact / ONNX
    fp32: dict[str, object] = {"quantized": False}
    return _put(artifact, sources, bundle.manifest.model_copy(update=fp32), calibration)


def _put(
    artifact: Path, sources: dict[str, Path], manifest: BundleManifest, calibration: Calibration
) -> Path:
    making = artifact / f"{TEMPORARY_PREFIX}{new_ulid()}"
    try:
        with disk_errors(making):
            for name, source in sources.items():
                (making / name).parent.mkdir(parents=True, exist_ok=True)
                _copy(source, making / name)
        write_atomically(making / READING, f"{dump_json(tables())}\n".encode())
        _write(making / CALIBRATION, calibration)
        _write(making / THRESHOLDS, calibration.thresholds)
        files: dict[str, object] = {"files": tuple(digest_of(making, name) for name in PARTS)}
        _write(making / MANIFEST, manifest.model_copy(update=files))
        return swap_in(making, artifact / BUNDLE)
    finally:
        shutil.rmtree(making, ignore_errors=True)  # there only when something above failed


def exchange(one: Path, other: Path, *, platform: str = sys.platform) -> bool:
    """Two folders change their names with each other, at once. False where the system or the disk does not know how."""
    if platform != "linux":
        return False
    rename: Callable[[int, bytes, int, bytes, int], object] = ctypes.CDLL(None)["renameat2"]
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def swap_in(new: Path, place: Path, *, exchange: Callable[[Path, Path], bool] = exchange) -> Path:
    """Puts the folder `new` at `place`; what was there is deleted."""
    old = place.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}")
    if place.exists() and exchange(new, place):
        old = new
    else:
        if place.exists():
            place.rename(old)
        new.rename(place)
    fsync_folder(place.parent)
    shutil.rmtree(old, ignore_errors=True)
    return place


_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""As <linux/fcntl.h> and <linux/fs.h> have them."""


def _copy(source: Path, target: Path) -> None:
    """Bytes that survive a power cut."""
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _write(path: Path, value: Contract) -> None:
    write_atomically(path, f"{value.model_dump_json(indent=2)}\n".encode())
