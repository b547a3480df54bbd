"""Fits a calibration on the logits of labelled texts, and keeps it in calibration.json and thresholds.json."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from model_trainer.core.artifact_files import CALIBRATION, THRESHOLDS
from model_trainer.core.contracts.calibration import Calibration, Threshold, Thresholds
from model_trainer.core.contracts.detector import CalibrateSpec, DecisionName
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.files import write_atomically
from model_trainer.engine.calibration.fit import fit_logistic
from model_trainer.engine.calibration.quality import probability_quality, reliability_bins
from model_trainer.engine.calibration.thresholds import find_band, find_buckets, find_thresholds
from model_trainer.engine.data.logits import Logits
from model_trainer.serving.probabilities import sigmoid, undo_loss

TEMPERATURES = (0.05, 20.0)
"""Beyond these a temperature says that the logits are worthless, or that nothing contradicts them."""
FEW_TEXTS = 100
"""Of a class: a share found in fewer is known no better than to 10 points (95 %)."""


def calibrate(
    logits: Logits,
    spec: CalibrateSpec,
    *,
    focal_gamma: float,
    positive_weight: float,
    fitted_on: Literal["validation", "external"] = "validation",
) -> Calibration:
    """Undoes the loss, then fits temperature and bias, then finds the thresholds on the probabilities that come out.

    `focal_gamma` and `positive_weight` are those of the loss. Raises DATA_TOO_SMALL when a class is missing, DIVERGED when
    a logit is not a number.
    """
    num_human, num_ai = count_classes(logits)
    gamma, weight = (focal_gamma, positive_weight) if spec.undo_loss else (0.0, 1.0)
    undone = undo_loss(logits.logits, focal_gamma=gamma, positive_weight=weight)
    coldest, hottest = TEMPERATURES
    fit = fit_logistic(undone, logits.labels, slopes=(1 / hottest, 1 / coldest), with_intercept=spec.fit_bias)
    temperature = 1 / fit.slope
    # As serving computes it, to the last bit: a threshold is one of these very numbers.
    log_odds = undone / temperature + fit.intercept
    predicted = sigmoid(log_odds)
    found = find_thresholds(predicted, logits.labels, logits.groups, spec)
    decision = _decision(found, spec)
    band, why_no_band = find_band(predicted, logits.labels, logits.groups, spec)
    return Calibration(
        asked=spec,
        num_human=num_human,
        num_ai=num_ai,
        fitted_on=fitted_on,
        logits_sha256=logits.digest(),
        focal_gamma=gamma,
        positive_weight=weight,
        temperature=temperature,
        temperature_at_bound=fit.at_bound,
        bias=fit.intercept,
        optimal_threshold=next(
            each.value for each in found if each.name == decision and each.value is not None
        ),
        before=probability_quality(logits.logits, logits.labels),
        after=probability_quality(log_odds, logits.labels),
        reliability=reliability_bins(predicted, logits.labels),
        thresholds=Thresholds(
            decision=decision,
            thresholds=found,
            band=band,
            why_no_band=why_no_band,
            length_buckets=find_buckets(predicted, logits.labels, logits.groups, logits.num_words, spec),
        ),
        warnings=tuple(
            _warnings(
                num_human=num_human,
                num_ai=num_ai,
                temperature=temperature if fit.at_bound else None,
                asked=next(each for each in found if each.name == spec.decision),
                decision=decision,
            )
        ),
    )


def count_classes(logits: Logits) -> tuple[int, int]:
    """How many texts are human and how many AI; raises DATA_TOO_SMALL when there are none, DIVERGED for logits that are
    not numbers."""
    if not bool(np.all(np.isfinite(logits.logits))):
        raise AppError(
            ErrorCode.DIVERGED,
            "The model answers some texts with something that is not a number. Train it again with a lower learning rate.",
        )
    num_ai = int(np.count_nonzero(logits.labels))
    num_human = len(logits.labels) - num_ai
    if min(num_ai, num_human) == 0:
        message = (
            f"These texts are {num_human} human and {num_ai} AI ones; nothing can be measured without both. "
            "Give texts of the missing class, or set a larger fraction aside."
        )
        raise AppError(
            ErrorCode.DATA_TOO_SMALL, message, faults=[FieldFault(pointer="/data_paths", message=message)]
        )
    return num_human, num_ai


def write_calibration(calibration: Calibration, folder: Path) -> None:
    """calibration.json and thresholds.json in `folder`, each whole or absent."""
    write_atomically(folder / THRESHOLDS, calibration.thresholds.model_dump_json(indent=2).encode())
    write_atomically(folder / CALIBRATION, calibration.model_dump_json(indent=2).encode())


def read_calibration(folder: Path) -> Calibration:
    """What write_calibration() wrote; raises ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT."""
    path = folder / CALIBRATION
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise AppError(
            ErrorCode.ARTIFACT_NOT_FOUND,
            f"There is no {path.name}. Calibrate this model first.",
            facts={"path": path.name},
        ) from error
    except (OSError, ValidationError) as error:
        raise AppError(
            ErrorCode.ARTIFACT_CORRUPT,
            f"{path.name} cannot be read. Calibrate this model again.",
            facts={"path": path.name},
        ) from error


def _decision(found: tuple[Threshold, ...], spec: CalibrateSpec) -> DecisionName:
    """The asked one where it exists; else most F1, which always does."""
    exists = any(each.name == spec.decision and each.value is not None for each in found)
    return spec.decision if exists else "max_f1"


def _warnings(
    *,
    num_human: int,
    num_ai: int,
    temperature: float | None,
    asked: Threshold,
    decision: DecisionName,
) -> list[str]:
    warnings: list[str] = []
    if min(num_human, num_ai) < FEW_TEXTS:
        warnings.append(
            f"Calibrated on {num_human} human and {num_ai} AI texts: with fewer than {FEW_TEXTS} of a class, "
            "probabilities and thresholds are rough."
        )
    if temperature is not None:
        warnings.append(
            f"The best temperature lies beyond {temperature:g}, where the search ends: the classes are wholly apart "
            "in these texts, or the logits say nothing about them. Probabilities may be too sure."
        )
    if asked.name != decision:
        warnings.append(
            f"decision: there is no {asked.name}, {decision} decides instead. {asked.why_missing}"
        )
    return warnings
