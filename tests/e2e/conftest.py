"""What the end-to-end tests of the Discord bot share: one installation for each test process."""

from collections.abc import Iterator

import pytest

from tests.e2e.discord_town import Town, town_in


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Redis, API and workers over one folder, with a trained tokenizer."""
    with town_in(tmp_path_factory.mktemp("town")) as found:
        yield found
