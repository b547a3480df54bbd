"""Settings: environment over .env over defaults, unknown names refused, secrets kept."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from model_trainer.cli.session import DEFAULT_API_URL
from model_trainer.core.config.settings import (
    DEFAULTS_FILE,
    Settings,
    load_settings,
)
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.core.config.conftest import ALL

EXAMPLE = Path(__file__).parents[4] / ".env.example"


def leaves(table: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def with_env_file(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / ".env"
    path.write_text(text)
    return load_settings(env_file=path)


def refused() -> AppError:
    with pytest.raises(AppError) as caught:
        load_settings(env_file=None)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    return caught.value


def test_the_defaults_are_for_local_use() -> None:
    settings = load_settings(env_file=None)

    assert settings.app_env == "dev"
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert settings.app.data_root == Path("corpus")
    assert settings.rq.queue_name == "training"
    assert settings.security.api_key is None
    assert settings.effective_log_level == "INFO"


def test_the_environment_wins_over_the_env_file_and_that_over_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP__RUNS_ROOT", "/from/environment")

    settings = with_env_file(tmp_path, "APP__RUNS_ROOT=/from/file\nAPP__ARTIFACTS_ROOT=/from/file\n")

    assert settings.app.runs_root == Path("/from/environment")
    assert settings.app.artifacts_root == Path("/from/file")
    assert settings.app.data_root == Path("corpus")


def test_an_env_file_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    assert load_settings(env_file=tmp_path / ".env").app_env == "dev"


def test_an_empty_value_means_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURITY__API_KEY", "")
    monkeypatch.setenv("LOG_LEVEL", "")
    monkeypatch.setenv("APP__CLEANUP__GRACE_PERIOD_SECONDS", "")

    settings = with_env_file(tmp_path, "REDIS_URL=\nAPP__LEASE_SECONDS=\n")

    assert settings.security.api_key is None
    assert settings.log_level is None
    assert settings.app.cleanup.grace_period_seconds == 86400
    assert settings.app.lease_seconds == 15
    assert settings.redis_url.get_secret_value().startswith("redis://")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DISCORD_OWNER_ID", "olga"),
        ("DISCORD_OWNER_ID", "0"),
        ("DISCORD_OWNER_ID", str(2**64)),
        ("API_BASE_URL", "localhost:8000"),
    ],
)
def test_an_owner_who_is_no_id_and_an_address_that_is_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    assert [fault.pointer for fault in refused().faults] == [name]


def test_the_bots_token_is_kept_from_prying_eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", " hush.hush ")
    settings = load_settings(env_file=None)

    assert settings.discord_token is not None
    assert settings.discord_token.get_secret_value() == "hush.hush"
    assert "hush" not in f"{settings!r}{settings}{settings.model_dump_json()}"


@pytest.mark.parametrize(
    "name",
    [
        "APP__ARTIFACT_ROOT",
        "APP__CLEANUP__DRYRUN",
        "RQ__QUEUE",
        "SECURITY__APIKEY",
        "LOGGING__LEVELS",
        "STORE__BUCKET",
        "STORE__S3__BUCKETS",
        "INFERENCE__BATCH",
        "app__x",
    ],
)
def test_an_unknown_name_under_our_prefixes_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(AppError, match=f"{name.upper()}: there is no such setting"):
        with_env_file(tmp_path, f"{name}=1\n")

    monkeypatch.setenv(name, "1")
    assert [fault.pointer for fault in refused().faults] == [name.upper()]


def test_every_wrong_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQ__RETRY_MAX", "many")
    monkeypatch.setenv("APP_ENV", "staging")

    assert {fault.pointer for fault in refused().faults} == {"RQ__RETRY_MAX", "APP_ENV"}


def test_other_peoples_variables_are_none_of_our_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "APP",
        "RQ",
        "STORE",
        "INFERENCE",
        "SECURITY",
        "LOGGING",
        "APPLE__PIE",
        "DATABASE__URL",
        "PATHS",
    ):
        monkeypatch.setenv(name, "not for us")

    settings = with_env_file(tmp_path, "APP=not for us\nOTHER__GROUP=1\nAPI_PORT=8000\n")

    assert settings == load_settings(env_file=None)


def test_log_level_is_another_name_and_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGGING__LEVEL", "ERROR")
    assert load_settings(env_file=None).effective_log_level == "ERROR"

    assert with_env_file(tmp_path, "LOG_LEVEL=debug\n").effective_log_level == "DEBUG"


def test_secrets_show_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURITY__API_KEY", "hunter2\n")
    monkeypatch.setenv("REDIS_URL", "rediss://user:hunter2@redis.example:6380/0")
    settings = load_settings(env_file=None)

    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.security.api_key is not None
    assert settings.security.api_key.get_secret_value() == "hunter2"
    assert settings.redis_url.get_secret_value() == "rediss://user:hunter2@redis.example:6380/0"


def test_a_secret_in_the_wrong_place_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://user:hunter2@redis.example/0")
    monkeypatch.setenv("APP__API_KEY", "hunter2")
    monkeypatch.setenv("APP_ENV", "hunter2")

    error = refused()

    assert "must begin with redis://, rediss:// (TLS) or unix://" in error.message
    assert "hunter2" not in f"{error} {error.faults} {error.__cause__} {error.__cause__!r}"


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://:p@h:1/0", "unix:///run/redis.sock?db=0"])
def test_redis_may_be_reached_in_three_ways(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)

    assert load_settings(env_file=None).redis_url.get_secret_value() == url


def test_settings_are_frozen() -> None:
    settings = load_settings(env_file=None)

    for group, name, value in (
        (settings, "app_env", "prod"),
        (settings.app, "lease_seconds", 1.0),
        (settings.app.cleanup, "dry_run", True),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(group, name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP__LEASE_SECONDS", "nan"),
        ("APP__LEASE_SECONDS", "inf"),
        ("APP__HEARTBEAT_SECONDS", "0"),
        ("APP__MAX_BODY_BYTES", "10"),
        ("APP__CLEANUP__GRACE_PERIOD_SECONDS", "-1"),
        ("APP__CLEANUP__ENABLED", "perhaps"),
        ("APP__MAX_FILE_BYTES", "0"),
        ("APP__CORPUS_CACHE__MAX_BYTES", "-1"),
        ("APP__CORPUS_CACHE__MIN_FREE_BYTES", "-1"),
        ("APP__TOKENIZER_CLEANUP__MIN_UNUSED_DAYS", "inf"),
        ("APP__TOKENIZER_CLEANUP__MIN_UNUSED_DAYS", "-1"),
        ("STORE__KIND", "tape"),
        ("STORE__LAYOUT", "zip"),
        ("STORE__TIMEOUT_SECONDS", "0"),
        ("INFERENCE__MAX_BATCH", "257"),
        ("INFERENCE__MAX_WAITING", "0"),
        ("INFERENCE__LEASE_SECONDS", "nan"),
        ("RQ__QUEUE_NAME", "two words"),
        ("RQ__JOB_TIMEOUT_SECONDS", "-2"),
        ("RQ__RETRY_BACKOFF_SECONDS", "inf"),
        ("SECURITY__API_KEY", "   "),
        ("OMP_NUM_THREADS", "0"),
        ("MKL_NUM_THREADS", "all"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    assert [fault.pointer for fault in refused().faults] == [name]


def test_a_lease_that_one_missed_heartbeat_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP__LEASE_SECONDS", "1.9")

    assert "APP__LEASE_SECONDS must be at least twice APP__HEARTBEAT_SECONDS" in refused().message


@pytest.mark.parametrize(
    ("kind", "needed", "value"),
    [("s3", "STORE__S3__BUCKET", "models"), ("databank", "STORE__DATABANK__URL", "https://bank.example")],
)
def test_a_remote_store_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, kind: str, needed: str, value: str
) -> None:
    monkeypatch.setenv("STORE__KIND", kind)
    assert f"STORE__KIND={kind} needs {needed}" in refused().message

    monkeypatch.setenv(needed, value)
    assert load_settings(env_file=None).store.kind == kind


def test_a_clean_up_nobody_decided_on_is_neither_on_nor_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(env_file=None).app.cleanup.enabled is None

    monkeypatch.setenv("APP__CLEANUP__ENABLED", "false")
    assert load_settings(env_file=None).app.cleanup.enabled is False


def test_the_stores_secrets_show_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE__S3__SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("STORE__DATABANK__API_KEY", "hunter2")
    store = load_settings(env_file=None).store

    assert "hunter2" not in f"{store!r} {store.model_dump()} {store.model_dump_json()}"
    assert store.s3.secret_access_key is not None
    assert store.s3.secret_access_key.get_secret_value() == "hunter2"


def test_one_queue_for_long_and_short_jobs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQ__SHORT_QUEUE_NAME", "training")

    assert "must differ" in refused().message


def test_values_given_in_code_win_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "ERROR")

    assert Settings.model_validate({"log_level": "DEBUG"}).effective_log_level == "DEBUG"


def test_the_defaults_file_holds_settings_and_no_secret() -> None:
    with DEFAULTS_FILE.open("rb") as file:
        names = set(leaves(tomllib.load(file)))

    optional = {
        "API_BASE_URL",
        "APP__CLEANUP__ENABLED",
        "APP__FAILPOINT",
        "APP__HOST_ID",
        "DISCORD_OWNER_ID",
        "DISCORD_TOKEN",
        "INFERENCE__MEMORY_BYTES",
        "LOG_LEVEL",
        "SECURITY__API_KEY",
        "HF_HOME",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "TOKENIZERS_PARALLELISM",
    }
    of_other_stores = {name for name in ALL if name.startswith(("STORE__S3__", "STORE__DATABANK__"))}
    assert names == set(ALL) - optional - of_other_stores


def test_the_example_file_names_every_setting_once_and_says_what_each_is() -> None:
    lines = EXAMPLE.read_text().splitlines()
    names = [
        line[2:].split("=")[0] for line in lines if line.startswith("# ") and line[2:].split("=")[0] in ALL
    ]
    assigned = [line for line in lines if "=" in line and line.removeprefix("# ").split("=")[0].isupper()]

    assert sorted(names) == sorted(ALL)
    assert len(assigned) == len(names)
    assert all(line.startswith("# ") for line in assigned)


def test_the_example_files_values_are_the_defaults(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    values = [line[2:] for line in lines if line[2:].split("=")[0] in ALL]

    settings = with_env_file(tmp_path, "\n".join(values))

    defaults = load_settings(env_file=None)
    assert settings.app == defaults.app
    assert settings.rq == defaults.rq
    assert settings.store == defaults.store
    assert settings.inference == defaults.inference
    assert settings.security == defaults.security
    assert settings.logging == defaults.logging
    assert (settings.app_env, settings.redis_url) == (defaults.app_env, defaults.redis_url)
    assert (settings.discord_token, settings.discord_owner_id) == (None, None)
    assert settings.api_base_url == DEFAULT_API_URL
