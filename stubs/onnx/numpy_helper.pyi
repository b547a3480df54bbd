# Weights of a graph as arrays. Checked by `make check-stubs`.

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

class _Tensor(Protocol):
    @property
    def name(self) -> str: ...

def to_array(tensor: _Tensor, base_dir: str = "") -> NDArray[np.float32]: ...
