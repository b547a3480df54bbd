"""The command `model-trainer` (and `python -m model_trainer`): the command line, with the doors it opens."""

import sys

from model_trainer.cli.main import call
from model_trainer.cli.ways import real_ways
from model_trainer.doors import LiveDoors


def main() -> None:
    """Runs one command line and ends with its exit code."""
    sys.exit(call(sys.argv[1:], ways=real_ways(LiveDoors())))


if __name__ == "__main__":
    main()
