"""One thread for every test of this folder: results are bitwise repeatable so."""

import pytest


@pytest.fixture(autouse=True)
def always_one_thread(one_thread: None) -> None:
    """Nobody here need ask for it."""
