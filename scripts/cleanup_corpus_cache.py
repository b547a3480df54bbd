"""Brings the corpus cache within its bounds: `model-trainer cleanup corpus-cache`, for schedulers that call scripts."""

import sys

from model_trainer.cli.main import call
from model_trainer.cli.session import Ways
from model_trainer.cli.ways import real_ways
from model_trainer.doors import LiveDoors


def main(arguments: list[str], *, ways: Ways) -> int:
    """The exit code of the command, with these options of its own."""
    return call(["cleanup", "corpus-cache", *arguments], ways=ways)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], ways=real_ways(LiveDoors())))
