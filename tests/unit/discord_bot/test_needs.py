"""What the bot cannot do without is named at once, each with the way out."""

import pytest

from model_trainer.core.config import Settings, load_settings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.needs import access_of

HERE = lambda _module: True  # noqa: E731 - a library that is there


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISCORD_TOKEN", "DISCORD_OWNER_ID"):
        monkeypatch.delenv(name, raising=False)


def with_variables(monkeypatch: pytest.MonkeyPatch, *, token: str = "", owner_id: str = "") -> Settings:
    monkeypatch.setenv("DISCORD_TOKEN", token)
    monkeypatch.setenv("DISCORD_OWNER_ID", owner_id)
    return load_settings(env_file=None)


@pytest.mark.parametrize(
    ("token", "owner_id", "named"),
    [
        ("", "", ["DISCORD_TOKEN", "DISCORD_OWNER_ID"]),
        ("hush", "", ["DISCORD_OWNER_ID"]),
        ("", "7", ["DISCORD_TOKEN"]),
        ("hush\u00e9 hush", "7", ["DISCORD_TOKEN"]),
        ("hush hush", "", ["DISCORD_TOKEN", "DISCORD_OWNER_ID"]),
    ],
)
def test_what_is_not_set_is_named_with_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch, token: str, owner_id: str, named: list[str]
) -> None:
    with pytest.raises(AppError, match="README") as caught:
        access_of(with_variables(monkeypatch, token=token, owner_id=owner_id), has_library=HERE)

    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == named
    assert "hush" not in caught.value.message


def test_without_the_extra_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for: list[str] = []

    def look(module: str) -> bool:
        looked_for.append(module)
        return False

    with pytest.raises(AppError, match=r'pip install "model-trainer\[discord\]"') as caught:
        access_of(with_variables(monkeypatch, token="hush", owner_id="7"), has_library=look)

    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert looked_for == ["discord"]


def test_what_is_there_is_handed_on_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    access = access_of(with_variables(monkeypatch, token="hush", owner_id="7"))

    assert (access.token.get_secret_value(), access.owner_id) == ("hush", 7)
    assert "hush" not in repr(access)
