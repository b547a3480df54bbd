"""Makes the folders that docker-compose.yml mounts, before Docker would make them, as root's own.

Run as root it hands them to the containers' user; the standard library is all it needs.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("corpus", "corpus/corpus_cache", "artifacts", "runs", "logs")
CONTAINER_USER = 1000


def prepare(root: Path, *, as_root: bool) -> None:
    """Create what is missing under `root`; as root, give what containers write into to their user."""
    for name in FOLDERS:
        folder = root / name
        folder.mkdir(exist_ok=True)
        if as_root and name != "corpus":
            os.chown(folder, CONTAINER_USER, CONTAINER_USER)


if __name__ == "__main__":
    prepare(ROOT, as_root=hasattr(os, "getuid") and os.getuid() == 0)
