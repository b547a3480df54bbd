# The part of onnxruntime that serving an exported detector needs. Checked by `make check-stubs`.

import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

class SessionOptions:
    def __init__(self) -> None: ...
    intra_op_num_threads: int
    log_severity_level: int

class InferenceSession:
    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: SessionOptions | None = None,
        providers: Sequence[str] | None = None,
        provider_options: None = None,
    ) -> None: ...
    def run(
        self, output_names: Sequence[str], input_feed: Mapping[str, NDArray[np.int64]], run_options: None = None
    ) -> list[NDArray[np.float32]]: ...
