"""Where settings come from: environment over .env over defaults.toml. The only room that reads the environment."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from model_trainer.core.errors import AppError, ErrorCode, FieldFault, faults_of

DEFAULTS_FILE = Path(__file__).with_name("defaults.toml")
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class CleanupSettings(_Group):
    """APP__CLEANUP__*: what the maintenance process removes."""

    enabled: bool
    """Remove abandoned temporary files and unused token caches."""
    dry_run: bool
    """Only log what would be removed."""
    grace_period_seconds: Annotated[int, Field(ge=0)]
    """Younger leftovers stay."""


class AppSettings(_Group):
    """APP__*: folders and limits of this installation."""

    artifacts_root: Path
    """Where tokenizers and models are left."""
    runs_root: Path
    """Where each run's light manifest lies."""
    logs_root: Path
    """Where the services' own logs go; empty means standard error only."""
    data_root: Path
    """The only folder corpora are read from."""
    max_body_bytes: Annotated[int, Field(ge=1024)]
    """A larger request body is refused before it is read."""
    lease_seconds: Annotated[float, Field(gt=0)]
    """How long a silent worker keeps its run."""
    heartbeat_seconds: Annotated[float, Field(gt=0)]
    """How often a worker reports."""
    reap_every_seconds: Annotated[float, Field(gt=0)]
    """How often the maintenance process looks for lost runs."""
    min_free_disk_bytes: Annotated[int, Field(ge=0)]
    """Below this much free space /readyz says not ready."""
    cleanup: CleanupSettings


class RqSettings(_Group):
    """RQ__*: the queues. RQ only wakes a worker up; retries are our own, for TRANSIENT failures alone."""

    queue_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """Queue of trainings."""
    short_queue_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """Queue of tokenizers and evaluations."""
    job_timeout_seconds: Annotated[int, Field(ge=-1)]
    """A job running longer is stopped; -1: no limit."""
    result_ttl_seconds: Annotated[int, Field(ge=0)]
    """How long RQ keeps its own record of a delivered job."""
    failure_ttl_seconds: Annotated[int, Field(ge=0)]
    """How long RQ keeps its own record of a failed delivery."""
    retry_max: Annotated[int, Field(ge=0, le=100)]
    """How often a run that failed by a passing fault is tried again."""
    retry_backoff_seconds: Annotated[float, Field(ge=0)]
    """Wait before the first retry; doubles each time, with jitter."""


class SecuritySettings(_Group):
    """SECURITY__*: who may ask."""

    api_key: SecretStr | None = None
    """When set, every request but health checks must carry it in X-Api-Key or as a bearer token."""
    protect_docs: bool
    """Ask for the key on /docs and /openapi.json too."""
    protect_metrics: bool
    """Ask for the key on /metrics too."""


class LoggingSettings(_Group):
    """LOGGING__*."""

    level: LogLevel


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_nested_delimiter="__",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
    )

    app_env: Literal["dev", "prod"]
    """dev: readable logs; prod: JSON logs."""
    redis_url: Annotated[SecretStr, Field(min_length=1)]
    """redis://, rediss:// (TLS) or unix:// address of Redis."""
    app: AppSettings
    rq: RqSettings
    security: SecuritySettings
    logging: LoggingSettings
    log_level: LogLevel | None = None
    """Another name for LOGGING__LEVEL; wins when both are set."""
    hf_home: Annotated[Path | None, Field(validation_alias=AliasChoices("HF_HOME", "hf_home"))] = None
    """Cache of the Hugging Face libraries."""
    omp_num_threads: Annotated[int | None, Field(ge=1)] = None
    """CPU threads of tensor operations where a spec does not say."""
    mkl_num_threads: Annotated[int | None, Field(ge=1)] = None
    """The same for MKL; the smaller of the two counts."""
    tokenizers_parallelism: bool | None = None
    """Whether the tokenizers library may use several threads."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values over environment over .env over the checked-in defaults."""
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            TomlConfigSettingsSource(settings_cls, toml_file=DEFAULTS_FILE),
        )

    @property
    def effective_log_level(self) -> LogLevel:
        """LOG_LEVEL where set, else LOGGING__LEVEL."""
        return self.log_level or self.logging.level



def load_settings(*, env_file: Path | None = Path(".env")) -> Settings:
    """The settings of this process; raises CONFIG_INVALID naming each wrong or unknown variable.

    Args:
        env_file: read below the environment when it exists; None reads none (the demo has a state of its own).
    """
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        faults = [
            FieldFault(pointer=fault.pointer.strip("/").replace("/", "__").upper(), message=fault.message)
            for fault in faults_of(error)
        ]
        names = ", ".join(f"{fault.pointer}: {fault.message}" for fault in faults)
        raise AppError(ErrorCode.CONFIG_INVALID, f"Settings are not valid. {names}", faults=faults) from error


def process_environment() -> dict[str, str]:
    """A copy of this process' environment, for handing on to processes we start."""
    return dict(os.environ)
