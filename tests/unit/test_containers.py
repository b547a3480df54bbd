"""What the container files promise, read from the files alone: scripts/check_containers.sh is what needs an engine."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from model_trainer.core.config import load_settings
from scripts.prepare_folders import prepare

ROOT = Path(__file__).resolve().parents[2]
HANDED_ON = (
    "APP__MAX_FILE_BYTES",
    "APP__CLEANUP__",
    "APP__CORPUS_CACHE__",
    "APP__TOKENIZER_CLEANUP__",
    "STORE__",
    "INFERENCE__",
)
OURS = ["api", "worker", "worker-short", "inference", "maintenance"]
BOT = "discord-status-bot"


class Service(BaseModel):
    """The part of a compose service that these tests read."""

    model_config = ConfigDict(extra="ignore")

    image: str
    profiles: list[str]
    user: str
    command: list[str]
    init: bool
    read_only: bool
    cap_drop: list[str]
    security_opt: list[str]
    stop_grace_period: str
    restart: str
    environment: dict[str, str | None] = {}
    volumes: list[str] = []
    ports: list[str] = []
    depends_on: dict[str, object] = {}


def compose_text() -> str:
    return (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def services() -> dict[str, Service]:
    return TypeAdapter(dict[str, Service]).validate_python(yaml.safe_load(compose_text())["services"])


def dockerfile() -> list[str]:
    """Return the Dockerfile's instructions, continuation lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [re.sub(r" +", " ", line) for line in text.splitlines() if line and not line.startswith("#")]


def last(instruction: str) -> str:
    return [line.partition(" ")[2] for line in dockerfile() if line.startswith(f"{instruction} ")][-1]


def test_compose_has_the_promised_services_and_no_name_of_its_own() -> None:
    assert list(services()) == [*OURS, BOT, "redis"]
    assert "name" not in yaml.safe_load(compose_text())


@pytest.mark.parametrize("name", [*OURS, "redis"])
def test_every_service_is_in_both_profiles(name: str) -> None:
    assert services()[name].profiles == ["dev", "prod"]


@pytest.mark.parametrize("name", [*OURS, BOT, "redis"])
def test_every_service_is_locked_down(name: str) -> None:
    service = services()[name]

    assert service.read_only
    assert service.init
    assert service.cap_drop == ["ALL"]
    assert service.security_opt == ["no-new-privileges:true"]
    assert not re.match(r"(0|root)\b", service.user.replace("${CONTAINER_UID:-", ""))


@pytest.mark.parametrize("name", [*OURS, BOT, "redis"])
def test_every_service_has_a_minute_to_stop(name: str) -> None:
    grace = services()[name].stop_grace_period

    assert grace.endswith("s")
    assert int(grace.removesuffix("s")) >= 60


@pytest.mark.parametrize("name", ["worker", "worker-short"])
def test_workers_have_longer_to_go_than_their_jobs_have_to_save(name: str) -> None:
    grace = load_settings(env_file=None).app.stop_grace_seconds

    assert "APP__STOP_GRACE_SECONDS" not in services()[name].environment
    assert int(services()[name].stop_grace_period.removesuffix("s")) >= grace + 15


@pytest.mark.parametrize("name", [*OURS, BOT, "redis"])
def test_every_service_that_ends_by_itself_or_with_the_machine_is_started_again(name: str) -> None:
    assert services()[name].restart == "unless-stopped"


def test_all_containers_are_one_host_because_they_share_a_kernel() -> None:
    assert {services()[name].environment["APP__HOST_ID"] for name in OURS} == {"containers"}


@pytest.mark.parametrize("name", OURS)
def test_corpora_are_mounted_read_only_but_for_the_cache_and_results_on_the_host(name: str) -> None:
    assert services()[name].volumes == [
        "./corpus:/data/corpus:ro",
        "./corpus/corpus_cache:/data/corpus/corpus_cache",
        "./artifacts:/data/artifacts",
        "./runs:/data/runs",
        "./logs:/data/logs",
        "hf_cache:/data/hf",
    ]


def test_only_the_api_is_published() -> None:
    assert {name: service.ports for name, service in services().items() if service.ports} == {
        "api": ["${API_PORT:-8000}:8000"]
    }


def test_redis_writes_every_order_to_disk_and_never_evicts() -> None:
    redis = services()["redis"]

    assert redis.image == "redis:7-alpine"
    assert "--appendonly yes --appendfsync always" in " ".join(redis.command)
    assert "--maxmemory-policy noeviction" in " ".join(redis.command)
    assert redis.volumes == ["redis_data:/data"]


def test_each_queue_has_a_worker_of_its_own() -> None:
    commands = {name: service.command for name, service in services().items()}

    assert commands["worker"] == ["worker", "--queue", "training"]
    assert commands["worker-short"] == ["worker", "--queue", "short"]
    assert commands["inference"] == ["inference"]
    assert commands["maintenance"] == ["maintenance"]
    assert commands["api"][0] == "serve"


@pytest.mark.parametrize("name", OURS)
def test_container_values_come_from_compose_and_not_from_a_local_env_file(name: str) -> None:
    environment = services()[name].environment
    fixed = {key: value for key, value in environment.items() if key not in {"APP_ENV", "SECURITY__API_KEY"}}

    assert "env_file" not in compose_text()
    assert fixed["REDIS_URL"] == "redis://redis:6379/0"
    assert fixed["APP__DATA_ROOT"] == "/data/corpus"
    handed_on = {key for key, value in fixed.items() if value is None or "$" in value}
    assert {key for key in handed_on if not key.startswith((*HANDED_ON, "AWS_"))} == {"LOGGING__LEVEL"}


@pytest.mark.parametrize("name", OURS)
def test_what_is_asked_of_stores_and_models_is_handed_on_by_its_own_name_and_left_to_the_defaults(
    name: str,
) -> None:
    environment = services()[name].environment
    handed_on = {key: value for key, value in environment.items() if key.startswith(HANDED_ON)}

    settings = documented()
    assert {"APP__CLEANUP__ENABLED", "STORE__TIMEOUT_SECONDS", "INFERENCE__MAX_BATCH"} <= settings
    assert handed_on == {key: f"${{{key}:-}}" for key in settings if key.startswith(HANDED_ON)}


@pytest.mark.parametrize("name", OURS)
def test_keys_of_a_bucket_are_handed_on_where_there_are_any_and_are_never_empty(name: str) -> None:
    environment = services()[name].environment
    keys = {key: value for key, value in environment.items() if key.startswith("AWS_")}

    assert keys == dict.fromkeys(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])


def test_every_folder_that_containers_write_into_is_made_beforehand(tmp_path: Path) -> None:
    prepare(tmp_path, as_root=False)

    mounted = [volume.split(":")[0] for name in OURS for volume in services()[name].volumes]
    assert all((tmp_path / folder).is_dir() for folder in mounted if folder.startswith("./"))


@pytest.mark.parametrize("name", OURS)
def test_logs_are_for_people_unless_asked_for_as_json_whatever_the_profiles_are(name: str) -> None:
    assert services()[name].environment["APP_ENV"] == "${APP_ENV:-dev}"
    assert "COMPOSE_PROFILES" not in compose_text()


def test_make_start_asks_for_logs_that_fit_the_profile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert "\nstart stop restart clean: export APP_ENV := $(filter dev prod,$(PROFILE))\n" in makefile


@pytest.mark.parametrize("profile", ["dev", "prod", "prod discord"])
def test_make_start_starts_every_profile_that_is_named(profile: str) -> None:
    (up,) = [line for line in commands_of("start", PROFILE=profile) if line.endswith(" up -d --build")]

    assert re.findall(r"--profile (\S+)", up) == profile.split()


@pytest.mark.parametrize(("target", "verb"), [("stop", " stop"), ("clean", " down ")])
def test_make_stop_and_clean_leave_no_bot_behind(target: str, verb: str) -> None:
    (line,) = [line for line in commands_of(target, PROFILE="prod") if verb in line]

    assert re.findall(r"--profile (\S+)", line) == ["prod", "discord"]


def commands_of(target: str, **variables: str) -> list[str]:
    """What make would do, one command a line."""
    given = [f"{name}={value}" for name, value in variables.items()]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    asked = ["make", "--dry-run", "--no-print-directory", target, *given]
    return subprocess.run(
        asked, cwd=ROOT, env=outside, capture_output=True, check=True, text=True
    ).stdout.splitlines()


def test_the_discord_bot_is_started_only_when_it_is_asked_for_and_alone() -> None:
    bot = services()[BOT]

    assert bot.profiles == ["discord"]
    assert bot.depends_on == {}
    assert bot.command == ["discord"]
    assert bot.image == services()["api"].image


def test_the_discord_bot_sees_no_files_and_knows_no_more_than_it_needs() -> None:
    bot = services()[BOT]

    assert bot.volumes == ["./logs:/data/logs"]
    assert bot.ports == []
    assert bot.environment == {
        "APP_ENV": "${APP_ENV:-dev}",
        "REDIS_URL": "redis://redis:6379/0",
        "API_BASE_URL": "http://api:8000",
        "APP__LOGS_ROOT": "/data/logs",
        "SECURITY__API_KEY": "${SECURITY__API_KEY:-}",
        "LOGGING__LEVEL": "${LOGGING__LEVEL:-INFO}",
        "DISCORD_TOKEN": "${DISCORD_TOKEN:-}",
        "DISCORD_OWNER_ID": "${DISCORD_OWNER_ID:-}",
    }


@pytest.mark.parametrize("name", [*OURS, "redis"])
def test_nobody_but_the_bot_knows_its_token(name: str) -> None:
    assert "DISCORD_TOKEN" not in services()[name].environment


def documented() -> set[str]:
    """Every setting: tests/unit/core/config/test_settings.py sees to that."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    return set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))


def test_every_variable_of_the_containers_is_documented() -> None:
    variables = {key for service in services().values() for key in service.environment}

    assert {key for key in variables if not key.startswith("AWS_")} <= documented()


def test_the_image_runs_as_nobody_special_and_says_when_it_is_ill() -> None:
    assert last("USER") == "1000:1000"
    assert "/healthz" in last("HEALTHCHECK")
    assert last("HEALTHCHECK").partition("CMD ")[2].startswith('["python"')


def test_the_image_starts_our_program_without_a_shell_between() -> None:
    assert last("ENTRYPOINT") == '["model-trainer"]'
    assert last("CMD").startswith('["serve", ')


def test_the_image_needs_no_frontend_from_a_registry() -> None:
    assert "syntax=" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_torch_is_the_cpu_build_unless_asked_for() -> None:
    assert "ARG TORCH=cpu" in dockerfile()
    assert any('--torch "$TORCH"' in line for line in dockerfile())


def test_a_local_env_file_and_data_stay_out_of_the_image() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]

    assert rules[0] == "*"
    assert not [rule for rule in rules if rule.startswith(("!.env", "!corpus", "!artifacts"))]
