"""A detector's files as the command line names them: an --output-dir, and single files that may lie elsewhere."""

import shutil
from pathlib import Path

from model_trainer.core import artifact_files as files
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors

SHOWN = (
    files.DATA_REPORT,
    files.TRAINING_CONFIG,
    files.MODEL,
    files.VALIDATION_LOGITS,
    files.TEST_LOGITS,
    files.CALIBRATION,
    files.THRESHOLDS,
    files.DETECTOR_METRICS,
    files.PLOTS,
    files.ONNX,
    files.EXPORT_REPORT,
    files.MODEL_CARD,
    files.CARD_PAGE,
    files.BUNDLE,
)
"""What --output-dir shows of an artifact; each under the name it has there."""


class Places:
    """Where each file is: as an option names it, else under its own name in the folder of --artifact-dir."""

    def __init__(
        self,
        artifact_dir: str | None,
        *,
        model: str | None = None,
        val_logits: str | None = None,
        test_logits: str | None = None,
        training_config: str | None = None,
        calibration: str | None = None,
        metrics: str | None = None,
        onnx: str | None = None,
        bundle: str | None = None,
        card: str | None = None,
    ) -> None:
        """Nothing is looked for yet."""
        self.folder = None if artifact_dir is None else Path(artifact_dir)
        self._named = {
            "--model-dir": (model, files.MODEL),
            "--val-logits": (val_logits, files.VALIDATION_LOGITS),
            "--test-logits": (test_logits, files.TEST_LOGITS),
            "--training-config": (training_config, files.TRAINING_CONFIG),
            "--calibration": (calibration, files.CALIBRATION),
            "--metrics": (metrics, files.DETECTOR_METRICS),
            "--onnx": (onnx, files.ONNX),
            "--bundle-dir": (bundle, files.BUNDLE),
            "--card": (card, files.MODEL_CARD),
        }

    def read(self, option: str) -> Path:
        """A file or folder that must be there; raises CONFIG_INVALID naming the option."""
        path = self._path(option)
        if path is None or not path.exists():
            missing = f"give {option}, or an --artifact-dir that has {self._named[option][1]}"
            raise _missing(option, missing if path is None else f"{path} is not there: {missing}")
        return path

    def maybe(self, option: str) -> Path | None:
        """The same for what may be missing; None then. What an option names must be there all the same."""
        asked, _ = self._named[option]
        path = self._path(option)
        return (
            self.read(option) if asked is not None else path if path is not None and path.exists() else None
        )

    def own(self, name: str) -> Path | None:
        """Where --artifact-dir has a file; None without such a folder."""
        return None if self.folder is None else self.folder / name

    def beside(self, name: str) -> Path | None:
        """A file of --artifact-dir that no option names; None where there is none."""
        path = self.own(name)
        return path if path is not None and path.exists() else None

    def write(self, option: str) -> Path:
        """Where a result goes, its folder made; raises CONFIG_INVALID when nothing says where."""
        path = self._path(option)
        if path is None:
            raise _missing("--output", "say where the result goes, or give an --artifact-dir")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _path(self, option: str) -> Path | None:
        asked, name = self._named[option]
        if asked is not None:
            return Path(asked)
        return self.own(name)


def check_output_dir(output_dir: Path) -> None:
    """Raises CONFIG_INVALID for a folder with things of another origin under the names that a view of an artifact has."""
    if (output_dir / files.TRAINING_CONFIG).exists():
        return
    foreign = [name for name in SHOWN if (output_dir / name).exists()]
    if foreign:
        message = f"{output_dir} holds {', '.join(foreign)} that no training put there: name another folder"
        raise _missing("--output-dir", message)


def show_artifact(artifact: Path, output_dir: Path) -> None:
    """Puts copies of an artifact's files into `output_dir`, each whole or not at all; what it showed before of another
    training goes."""
    with disk_errors(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        for name in SHOWN:
            put(artifact / name, output_dir / name)


def put(source: Path, target: Path) -> None:
    """Replaces `target` by a copy of `source`, a file or a folder; without a source it only goes."""
    making = target.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}")
    if source.is_dir():
        shutil.copytree(source, making)
        _remove(target)
        making.rename(target)
    elif source.exists():
        shutil.copyfile(source, making)
        making.replace(target)
    else:
        _remove(target)


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _missing(option: str, message: str) -> AppError:
    return AppError(ErrorCode.CONFIG_INVALID, f"{option}: {message}.", faults=[FieldFault(option, message)])
