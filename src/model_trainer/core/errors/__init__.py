"""One error type for the whole house, with a stable code and a sentence for a person."""

from model_trainer.core.errors.app_error import AppError, AskedToStop, FieldFault
from model_trainer.core.errors.codes import ErrorCode, FailureClass, Reason, failure_class_of, reason_of
from model_trainer.core.errors.validation import faults_of, wrong_field

__all__ = [
    "AppError",
    "AskedToStop",
    "ErrorCode",
    "FailureClass",
    "FieldFault",
    "Reason",
    "failure_class_of",
    "faults_of",
    "reason_of",
    "wrong_field",
]
