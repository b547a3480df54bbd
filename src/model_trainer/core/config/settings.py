"""Where settings come from: environment over .env over defaults.toml. The only room that reads the environment."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self, TypeGuard
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from model_trainer.core.errors import AppError, ErrorCode, FieldFault, faults_of
from model_trainer.core.failpoints import FAILPOINT_PATTERN

DEFAULTS_FILE = Path(__file__).with_name("defaults.toml")
GROUPS = ("app", "rq", "store", "inference", "security", "logging")
"""First parts of our own variables: unknown names that begin with one of these are refused."""
SPIN_COUNT = "1000"
"""How often a thread of libgomp looks for its neighbours before it lets go of the processor.

Its own default, hundreds of thousands of turns, takes a core away from whoever shares it: with others at work on the
same two cores, a loop of small matrices fell from 13 steps/s to less than 1; with a thousand turns it kept 5 to 6, and
a quiet machine lost 2 %.
"""


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _first_of_list(value: object) -> object:
    """OpenMP allows a number for each level of nesting: 4,2. The first is ours."""
    return value.split(",")[0] if isinstance(value, str) else value


def _redis_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// (TLS) or unix://")
    return url


def _http_address(url: str) -> str:
    """What libraries take for an address; some do not refuse another one, they crash over it."""
    pattern = r"https?://[A-Za-z0-9._\[\]:-]+(/[A-Za-z0-9._~/-]*)?"
    if (
        re.fullmatch(pattern, url) is None or urlsplit(url).port == 0
    ):  # a port that cannot be one raises ValueError
        raise ValueError("must be an address such as https://host:port")
    return url


HttpAddress = Annotated[str, AfterValidator(_http_address)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Threads = Annotated[int, BeforeValidator(_first_of_list), Field(ge=1)]


class _Group(BaseModel):
    # Inputs are hidden because a wrong value may be a secret in the wrong place.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )


class CleanupSettings(_Group):
    """APP__CLEANUP__*: what the maintenance process removes."""

    enabled: bool | None = None
    """Remove abandoned temporary files, unused token caches, and local copies of artifacts that the store has. Left out: all
    of these, but local copies only where STORE__KIND is not local."""
    verify_upload: bool
    """Read a stored artifact back and compare digests before its local copy is removed."""
    dry_run: bool
    """Only log what would be removed."""
    grace_period_seconds: Annotated[int, Field(ge=0)]
    """Younger leftovers, and local copies used more recently, stay."""


class CorpusCacheSettings(_Group):
    """APP__CORPUS_CACHE__*: files of the store, fetched for reading, under <data root>/corpus_cache."""

    max_bytes: Annotated[int, Field(ge=0)]
    """Beyond this, what was used longest ago goes."""
    min_free_bytes: Annotated[int, Field(ge=0)]
    """Below so much free space too."""


class TokenizerCleanupSettings(_Group):
    """APP__TOKENIZER_CLEANUP__*: trained tokenizers that nothing was made with."""

    enabled: bool
    """Let the maintenance process remove them; `model-trainer cleanup tokenizers` does so on request."""
    min_unused_days: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Younger ones stay."""


class AppSettings(_Group):
    """APP__*: folders and limits of this installation. Relative folders are relative to the working directory."""

    artifacts_root: Path
    """Where tokenizers and models are left."""
    runs_root: Path
    """Where each run's light manifest lies."""
    logs_root: Path
    """Where the services leave their own logs."""
    data_root: Path
    """The only folder corpora are read from."""
    max_body_bytes: Annotated[int, Field(ge=1024)]
    """A larger request body is refused before it is read."""
    lease_seconds: Seconds
    """How long a silent worker keeps its run."""
    heartbeat_seconds: Seconds
    """How often a worker reports; a run must be able to miss one and live."""
    reap_every_seconds: Seconds
    """How often the maintenance process looks for lost runs."""
    min_free_disk_bytes: Annotated[int, Field(ge=0)]
    """Below this much free space /readyz says not ready."""
    stop_grace_seconds: Seconds
    """How long a worker that must stop waits for its job to write a checkpoint."""
    host_id: Annotated[str, Field(max_length=255)] | None = None
    """This machine's name in records; left out: its host name. The same on all that share its kernel."""
    failpoint: Annotated[str, Field(pattern=FAILPOINT_PATTERN)] | None = None
    """For tests of faults: where a process is to fail, as <failpoint>:<kill|error|wait>[@<n>]."""
    max_file_bytes: Annotated[int, Field(ge=1)]
    """POST /files takes no larger file."""
    cleanup: CleanupSettings
    corpus_cache: CorpusCacheSettings
    tokenizer_cleanup: TokenizerCleanupSettings

    @model_validator(mode="after")
    def _a_lease_outlives_a_missed_heartbeat(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError("APP__LEASE_SECONDS must be at least twice APP__HEARTBEAT_SECONDS")
        return self


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
    retry_backoff_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Wait before the first retry; doubles each time, with jitter."""

    @model_validator(mode="after")
    def _two_queues(self) -> Self:
        if self.queue_name == self.short_queue_name:
            raise ValueError(
                "RQ__QUEUE_NAME and RQ__SHORT_QUEUE_NAME must differ, or long runs block short jobs"
            )
        return self


class S3Settings(_Group):
    """STORE__S3__*: a bucket of any service that speaks S3."""

    bucket: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")] | None = None
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]*$")] = ""
    """Before all keys, as a folder."""
    endpoint: HttpAddress | None = None
    """Of a service that is not Amazon's, as https://host:port."""
    region: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] = "us-east-1"
    access_key_id: Annotated[str, Field(pattern=r"^[!-~]+$")] | None = None
    """Left out with the secret: from the environment or the machine's role, as for any S3 client."""
    secret_access_key: SecretStr | None = None
    allow_http: bool = False
    """Speak to an endpoint without TLS."""


class DatabankSettings(_Group):
    """STORE__DATABANK__*: a server with the /files protocol, such as another Model Trainer."""

    url: HttpAddress | None = None
    api_key: SecretStr | None = None


class StoreSettings(_Group):
    """STORE__*: where artifacts and uploaded files live for good."""

    kind: Literal["local", "s3", "databank"]
    """local: by digest, under the artifacts root."""
    layout: Literal["files", "tarball"]
    """How an artifact is stored: each file by its digest, or all as one tarball."""
    timeout_seconds: Seconds
    """For connecting and for each answer of a remote store."""
    s3: S3Settings = S3Settings()
    databank: DatabankSettings = DatabankSettings()

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.kind == "s3" and self.s3.bucket is None:
            raise ValueError("STORE__KIND=s3 needs STORE__S3__BUCKET")
        if (self.s3.endpoint or "").startswith("http://") and not self.s3.allow_http:
            raise ValueError(
                "STORE__S3__ENDPOINT has no TLS: take https://, or set STORE__S3__ALLOW_HTTP=true"
            )
        if self.kind == "databank" and self.databank.url is None:
            raise ValueError("STORE__KIND=databank needs STORE__DATABANK__URL")
        return self


class InferenceSettings(_Group):
    """INFERENCE__*: questions to trained models."""

    result_ttl_seconds: Annotated[int, Field(ge=1)]
    """How long answers are kept."""
    conversation_ttl_seconds: Annotated[int, Field(ge=1)]
    """How long a conversation is kept after its last turn."""
    max_waiting: Annotated[int, Field(ge=1)]
    """With more requests in line, new ones are refused."""
    max_batch: Annotated[int, Field(ge=1, le=256)]
    """So many requests for the same model and settings are answered together, and so many sequences drawn at a time; those of
    one request always are."""
    max_wait_seconds: Seconds
    """The longest `Prefer: wait` that is honoured."""
    request_timeout_seconds: Seconds
    """Work on a batch that takes longer is ended."""
    lease_seconds: Seconds
    """How long a silent inference worker keeps its requests."""
    memory_bytes: Annotated[int, Field(ge=1)] | None = None
    """For loaded models, in each inference worker; left out: a quarter of the machine's memory."""


class SecuritySettings(_Group):
    """SECURITY__*: who may ask."""

    api_key: Annotated[SecretStr, BeforeValidator(_stripped), Field(min_length=1)] | None = None
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
        hide_input_in_errors=True,
    )

    app_env: Literal["dev", "prod"]
    """dev: readable logs; prod: JSON logs."""
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)]
    """redis://, rediss:// (TLS) or unix:// address of Redis."""
    app: AppSettings
    rq: RqSettings
    store: StoreSettings
    inference: InferenceSettings
    security: SecuritySettings
    logging: LoggingSettings
    discord_token: Annotated[SecretStr, BeforeValidator(_stripped), Field(min_length=1)] | None = None
    """Of the bot, from Discord's developer portal."""
    discord_owner_id: Annotated[int, Field(ge=1, lt=2**64)] | None = None
    """The Discord user whom the bot listens and speaks to; nobody else."""
    api_base_url: HttpAddress | None = None
    """Where the command line and the bot find the API; left out: on this machine, port 8000."""
    log_level: LogLevel | None = None
    """Another name for LOGGING__LEVEL; wins when both are set."""
    hf_home: Annotated[Path | None, Field(validation_alias=AliasChoices("HF_HOME", "hf_home"))] = None
    """Cache of the Hugging Face libraries."""
    omp_num_threads: Threads | None = None
    """CPU threads of tensor operations where a spec does not say."""
    mkl_num_threads: Threads | None = None
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
        for source in filter(_reads_variables, (env_settings, dotenv_settings)):
            # A bare APP or LOGGING is somebody else's variable, not one of our groups as JSON.
            source.env_vars = {
                name: value for name, value in source.env_vars.items() if name.lower() not in GROUPS
            }
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
        faults = [_fault_of_variable(fault) for fault in faults_of(error)]
        names = "; ".join(f"{fault.pointer}: {fault.message}" for fault in faults)
        raise AppError(
            ErrorCode.CONFIG_INVALID,
            f"Settings are not valid. {names}. The file .env.example lists every setting.",
            faults=faults,
        ) from error


def export_for_libraries(settings: Settings) -> None:
    """Puts what only the environment tells third-party libraries there, before they are imported.

    libgomp reads its variables once, when torch loads it. Whoever set one of the two that govern waiting is obeyed.
    """
    values = {
        "HF_HOME": settings.hf_home,
        "OMP_NUM_THREADS": settings.omp_num_threads,
        "MKL_NUM_THREADS": settings.mkl_num_threads,
        "TOKENIZERS_PARALLELISM": settings.tokenizers_parallelism,
    }
    os.environ.update({name: _as_text(value) for name, value in values.items() if value is not None})
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT


def process_environment() -> dict[str, str]:
    """A copy of this process' environment, for handing on to processes we start."""
    return dict(os.environ)


def _reads_variables(source: PydanticBaseSettingsSource) -> TypeGuard[EnvSettingsSource]:
    return isinstance(source, EnvSettingsSource)


def _fault_of_variable(fault: FieldFault) -> FieldFault:
    """A fault under the variable's name instead of a JSON pointer."""
    unknown = fault.message == "Extra inputs are not permitted"
    return FieldFault(
        pointer=fault.pointer.strip("/").replace("/", "__").upper(),
        message="there is no such setting" if unknown else fault.message,
    )


def _as_text(value: Path | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
