"""What int8 saves on the shape of DeBERTa-v3-base with random weights: size of the file, median latency in onnxruntime."""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.detector import WindowPlan
from model_trainer.engine.devices import probe_machine
from model_trainer.engine.export.quantize import quantize
from model_trainer.engine.export.to_onnx import export_onnx
from model_trainer.engine.training.seed import seed_everything
from model_trainer.models.family import DetectorFamily
from model_trainer.registry import Registry
from model_trainer.serving.session import OnnxNetwork

BASE: JsonObject = {
    "model_family": "text_detector",
    "data_paths": ["none"],
    "from_scratch": True,
    "parts": "encoder",
    "layers": 12,
    "hidden_size": 768,
    "attention_heads": 12,
    "ffn_size": 3072,
    "max_position_embeddings": 512,
}
VOCABULARY = 128_100
LENGTHS = (128, 512)
ROUNDS = 3
CALLS = 7


@dataclass(frozen=True)
class ServingCost:
    """int8 against fp32."""

    fp32_bytes: int
    int8_bytes: int
    seconds: dict[int, tuple[float, float]]
    """Median of fp32 and of int8, by tokens of the one window that is judged."""

    @property
    def size_ratio(self) -> float:
        """int8 over fp32."""
        return self.int8_bytes / self.fp32_bytes

    @property
    def latency_ratios(self) -> dict[int, float]:
        """int8 over fp32, by tokens."""
        return {tokens: int8 / fp32 for tokens, (fp32, int8) in self.seconds.items()}

    def as_json(self) -> JsonObject:
        """For the report."""
        return {
            "fp32_bytes": self.fp32_bytes,
            "int8_bytes": self.int8_bytes,
            "size_ratio": self.size_ratio,
            "median_seconds": {str(tokens): list(pair) for tokens, pair in self.seconds.items()},
            "latency_ratios": {str(tokens): ratio for tokens, ratio in self.latency_ratios.items()},
        }


def serving_cost(folder: Path) -> ServingCost:
    """Exports, quantises and times; the two take turns."""
    registry = Registry.discover()
    family = registry.family("text_detector")
    if not isinstance(family, DetectorFamily):
        raise SystemExit("text_detector is no family of detectors here")
    spec = registry.parse_train_spec(dump_json(BASE))
    recipe = family.resolve(spec, probe_machine(), vocab_size=VOCABULARY)
    seed_everything(1)
    plan = WindowPlan(length=512, stride=512, prefix=(), suffix=(), pad_id=0)
    fp32, int8 = folder / "base.onnx", folder / "base.int8.onnx"
    export_onnx(family.classifier().build(recipe), fp32, windows=plan)
    quantize(fp32, int8)
    draw = np.random.default_rng(1)
    windows = {tokens: draw.integers(1, VOCABULARY, (1, tokens)) for tokens in LENGTHS}
    taken: dict[tuple[Path, int], list[float]] = {
        (path, tokens): [] for path in (fp32, int8) for tokens in LENGTHS
    }
    for _ in range(ROUNDS):
        for path in (fp32, int8):
            # One at a time: the threads of a session spin for a while after each call, and would take the other's cores.
            network = OnnxNetwork(path, threads=probe_machine().cpu_count)
            for tokens, ids in windows.items():
                taken[path, tokens] += timed(network, ids)
            del network
    seconds = {
        tokens: (statistics.median(taken[fp32, tokens]), statistics.median(taken[int8, tokens]))
        for tokens in LENGTHS
    }
    return ServingCost(fp32.stat().st_size, int8.stat().st_size, seconds)


def timed(network: OnnxNetwork, ids: NDArray[np.int64]) -> list[float]:
    """Seconds of each call, the first left out."""
    taken: list[float] = []
    for _ in range(1 + CALLS):
        began = time.perf_counter()
        network.run(ids, np.ones_like(ids))
        taken.append(time.perf_counter() - began)
    return taken[1:]


def main() -> int:
    """Prints the figures; the file of fp32 weights takes 0.7 GB for a moment."""
    with tempfile.TemporaryDirectory() as folder:
        cost = serving_cost(Path(folder))
    ratios = ", ".join(f"{tokens} tokens {ratio:.2f}" for tokens, ratio in cost.latency_ratios.items())
    print(f"int8 over fp32: size {cost.size_ratio:.3f}, median latency {ratios}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
