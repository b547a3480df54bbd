# The part of onnx that the export needs: a graph as it lies on disk. Its messages are made at import, so that their types are
# told as protocols. Checked by `make check-stubs`.

from collections.abc import MutableSequence
from pathlib import Path
from typing import Protocol

from onnx import numpy_helper as numpy_helper

class _Value(Protocol):
    metadata_props: MutableSequence[object]
    doc_string: str

class _Node(_Value, Protocol):
    name: str
    op_type: str
    input: MutableSequence[str]

class _Tensor(_Value, Protocol):
    name: str

class _Graph(_Value, Protocol):
    node: MutableSequence[_Node]
    initializer: MutableSequence[_Tensor]
    input: MutableSequence[_Value]
    output: MutableSequence[_Value]
    value_info: MutableSequence[_Value]

class _OperatorSet(Protocol):
    domain: str
    version: int

class _Model(_Value, Protocol):
    graph: _Graph
    opset_import: MutableSequence[_OperatorSet]
    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...

def load_model(f: str | Path, format: None = None, load_external_data: bool = True) -> _Model: ...
