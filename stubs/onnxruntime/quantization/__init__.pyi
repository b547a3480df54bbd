# The part of onnxruntime's quantizer that the export needs. Checked by `make check-stubs`.

from collections.abc import Sequence
from enum import Enum
from pathlib import Path

class QuantType(Enum):
    QInt8 = 0

def quantize_dynamic(
    model_input: str | Path,
    model_output: str | Path,
    op_types_to_quantize: Sequence[str] | None = None,
    per_channel: bool = False,
    reduce_range: bool = False,
    weight_type: QuantType = ...,
    nodes_to_quantize: Sequence[str] | None = None,
    nodes_to_exclude: Sequence[str] | None = None,
    use_external_data_format: bool = False,
    extra_options: None = None,
) -> None: ...
