"""How long `model-trainer --help` takes, process start included; fails above the target.

.venv/bin/python benchmarks/cli_help.py --tries 15
"""

import argparse
import statistics
import subprocess
import sys
import time

from model_trainer.core.contracts.base import dump_json

TARGET_SECONDS = 0.2


def main() -> int:
    """Prints the median and a line of JSON; 1 when the median misses the target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=15, help="starts to time after one that is not counted")
    tries: int = parser.parse_args().tries
    once()
    seconds = sorted(once() for _ in range(tries))
    median = statistics.median(seconds)
    print(
        f"median {median:.3f} s, best {seconds[0]:.3f} s, worst {seconds[-1]:.3f} s; target {TARGET_SECONDS} s"
    )
    print(dump_json({"benchmark": "cli_help", "median_seconds": round(median, 4)}))
    return 1 if median > TARGET_SECONDS else 0


def once() -> float:
    """Seconds of one start."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "model_trainer", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
