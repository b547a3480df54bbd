"""What became of an export: export_report.json."""

from typing import Literal

from model_trainer.core.contracts.base import Contract


class Parity(Contract):
    """ONNX against torch, on the same windows."""

    num_windows: int
    max_difference: float
    tolerance: float
    passed: bool


class QuantizationGate(Contract):
    """Int8 against fp32, on validation texts."""

    num_texts: int
    fp32_bytes: int
    int8_bytes: int
    fp32_auroc: float
    int8_auroc: float
    auroc_loss: float
    flips: float
    """Share of verdicts that changed, at the calibration's threshold."""
    excluded_nodes: tuple[str, ...]
    """MatMuls left in fp32 so that the rest could pass."""
    passed: bool
    why: str


class ExportReport(Contract):
    """export_report.json."""

    schema_version: Literal[1] = 1
    opset: int
    parity: Parity
    quantization: QuantizationGate | None
    """None when it was not asked for."""
    bundled: Literal["fp32", "int8"]
    onnx_sha256: str
