"""Whether a model got better or worse than another one, measured on the same text."""

from pathlib import Path

from pydantic import ValidationError

from model_trainer.core.contracts.evaluation import Comparison, Evaluation
from model_trainer.core.errors import AppError, ErrorCode

RELATIVE_TOLERANCE = 0.03
"""Both are scored on the very same text, so no sampling noise is left, only the luck of the seed. Four seeds of a small
GRU (128 wide, 1 MB of code, 300 and 900 steps) had standard deviations of 0.9 % and 1.4 %, so that two equally good runs
differ by more than 3 % about once in thirty times; longer runs differ less."""


def compare(
    ours: Evaluation, theirs: Evaluation, *, relative_tolerance: float = RELATIVE_TOLERANCE
) -> Comparison:
    """Bits per byte against another run's: comparable across tokenizers and sizes, but only on the same text.

    On different text the figures still stand side by side, and are never called a regression.
    """
    same_data = ours.text_sha256 == theirs.text_sha256
    tolerance = relative_tolerance * theirs.metrics.bits_per_byte
    difference = ours.metrics.bits_per_byte - theirs.metrics.bits_per_byte
    return Comparison(
        run_id=theirs.run_id,
        theirs=theirs.metrics.bits_per_byte,
        ours=ours.metrics.bits_per_byte,
        difference=difference,
        tolerance=tolerance,
        regression=same_data and difference > tolerance,
        same_data=same_data,
    )


def read_evaluation(path: Path) -> Evaluation | None:
    """What an eval/metrics.json says; None when there is none. Raises ARTIFACT_CORRUPT when it is not one."""
    if not path.is_file():
        return None
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise AppError(
            ErrorCode.ARTIFACT_CORRUPT,
            "The evaluation to compare with cannot be read. Evaluate that run again, or compare with another.",
            facts={"path": path.name},
        ) from error
