"""The server's settings. Each is a variable DDPM_… and a flag of `ddpm serve` with the same name.

This module loads no database, file system or network library: the container's health check reads
the settings every ten seconds.
"""

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.environment import PREFIX, OwnVariables
from app.settings.cluster import ClusterSettings
from app.settings.models import ModelSettings, name_and_checkpoint
from app.settings.security import MIN_KEY, SecuritySettings
from app.settings.server import ServerSettings
from app.settings.values import Positive, SettingError, split
from diffusion.cores import available_cores

__all__ = ["GROUPS", "MIN_KEY", "SECRETS", "SettingError", "Settings", "check_database_url"]


class LimitSettings(BaseSettings):
    """How much one request, one client and all clients together may ask for."""

    max_samples: Positive = Field(256, description="samples in one request, at most")
    max_frames: int = Field(1001, ge=2, description="frames of one trajectory, at most; 2 or more")
    max_queue_samples: Positive = Field(
        4096, description="unfinished samples of all clients together, at most"
    )
    max_queue_steps: Positive = Field(
        4_096_000, description="denoising steps still to do for all clients together, at most"
    )
    max_client_samples: Positive = Field(
        2048, description="unfinished samples of one client, at most"
    )
    max_client_steps: Positive = Field(
        2_048_000, description="denoising steps still to do for one client, at most"
    )
    max_wait_seconds: Positive = Field(
        3600,
        description="seconds after which a request is given up; a client may ask for fewer with "
        "the header Prefer: wait=N",
    )
    max_client_rate: int = Field(
        0,
        ge=0,
        description="requests of one client in a minute, at most, probes and pages not counted; "
        "0: any number",
    )
    max_request_bytes: Positive = Field(
        8 << 20,
        description="bytes of a request's body, at most; the default has room for a picture of "
        "4 MiB, or for 50,000 labels",
    )
    max_response_bytes: Positive = Field(
        64 << 20, description="bytes of the pictures in one answer before compression, at most"
    )
    answers_budget_bytes: Positive = Field(
        96 << 20,
        description="bytes of memory that all answers together take while they are gathered, "
        "encoded and sent, at most; those of one client take half of it",
    )
    answers_cache_bytes: int = Field(
        0,
        ge=0,
        description="bytes of answers to requests with a seed that are kept, at most: who asks for "
        "the same gets them at once; the least recently used go first; 0: none are kept",
    )
    write_seconds: Positive = Field(
        30,
        description="seconds that a client has to read each part of its answer, of 256 KiB at "
        "most; and the whole, besides a second for each 64 KiB",
    )
    body_seconds: Positive = Field(
        30,
        description="seconds that a client has to send a request's headers, and again to send "
        "its body",
    )

    @property
    def most_steps(self) -> int:
        """Steps that one client may have in the queue, at most."""
        return min(self.max_client_steps, self.max_queue_steps)

    def most_samples(self, steps: int) -> int:
        """Samples of so many steps that one client may have in the queue, at most; 0: none."""
        return min(self.max_client_samples, self.max_queue_samples, self.most_steps // steps)


class JobSettings(BaseSettings):
    """Where jobs (requests with Prefer: respond-async) are kept, how many, and for how long."""

    jobs_folder: Path = Field(
        Path("jobs"),
        description="folder for the database and results of jobs, unless the next two settings "
        "name other places",
    )
    jobs_url: str = Field(
        "",
        description="database of the jobs, postgresql://USER@HOST/NAME or sqlite:///FILE; empty: "
        "jobs.sqlite in the jobs' folder",
    )
    jobs_results: str = Field(
        "",
        description="where the jobs' results are kept: a folder, s3://BUCKET/PREFIX, or another "
        "URL that fsspec knows; empty: results in the jobs' folder",
    )
    jobs_budget_bytes: Positive = Field(
        20 << 30, description="bytes of all jobs' results together, at most"
    )
    jobs_client_bytes: Positive = Field(
        10 << 30, description="bytes of the results of one client's jobs, at most"
    )
    jobs_expiry_seconds: Positive = Field(
        7 * 24 * 3600,
        description="seconds that a job is kept after its end, or after its last progress",
    )
    jobs_lease_seconds: Positive = Field(
        15,
        description="seconds after which another server takes over the jobs of a server that "
        "shows no sign of life",
    )
    max_job_samples: Positive = Field(50_000, description="samples in one job, at most")
    max_jobs: Positive = Field(1000, description="unfinished jobs of all clients together, at most")
    max_client_jobs: Positive = Field(200, description="unfinished jobs of one client, at most")
    max_kept_jobs: Positive = Field(
        100_000, description="jobs of all clients together that have not expired, at most"
    )
    max_client_kept_jobs: Positive = Field(
        10_000, description="jobs of one client that have not expired, at most"
    )
    keys_expiry_seconds: Positive = Field(
        24 * 3600,
        description="seconds that the Idempotency-Key of a synchronous request is kept; a job's is "
        "kept as long as the job",
    )
    max_keys: Positive = Field(
        100_000,
        description="Idempotency-Keys of all clients' synchronous requests that are kept, at most; "
        "those older than an hour make room",
    )
    max_client_keys: Positive = Field(
        20_000,
        description="Idempotency-Keys of one client's synchronous requests that are kept, at most; "
        "those older than an hour make room",
    )

    @field_validator("jobs_url")
    @classmethod
    def _check_jobs_url(cls, value: str) -> str:
        if value:
            check_database_url(value)
        return value


class Settings(
    SecuritySettings, JobSettings, LimitSettings, ClusterSettings, ModelSettings, ServerSettings
):
    """All settings of a server, read from DDPM_… variables and what the constructor is given.

    Raises pydantic.ValidationError for a value that is not allowed.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", cli_kebab_case=True, cli_hide_none_type=True
    )

    @property
    def models(self) -> dict[str, str]:
        """The checkpoints to be served, by the models' names, in their order."""
        return dict(map(name_and_checkpoint, self.checkpoint))

    @property
    def keys(self) -> list[str]:
        """The API keys that have no name."""
        return split(self.api_keys.get_secret_value())

    @property
    def needs_key(self) -> bool:
        """Does a request for images or jobs need an API key?"""
        return bool(self.keys or self.api_keys_file)

    @property
    def protected(self) -> list[str]:
        """What else needs one: docs, metrics, model, page."""
        return split(self.protect)

    @property
    def hosts(self) -> list[str]:
        """The names by which clients may ask for the server; empty: as without the setting."""
        return split(self.allowed_hosts)

    @property
    def proxies(self) -> list[str]:
        """Addresses and networks of the proxies whose X-Forwarded-For is believed."""
        return split(self.trusted_proxies)

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may use the server from a browser; `*`: every one."""
        return split(self.cors_origins)

    @property
    def scheme(self) -> str:
        """How clients speak to the server: http or https."""
        return "https" if self.tls_certificate else "http"

    @property
    def hub_patterns(self) -> list[str]:
        """Which of the Hub's models may be loaded over HTTP, by patterns of owner/name."""
        return split(self.hub_allow)

    @property
    def results_url(self) -> str:
        """The folder or URL of jobs' results."""
        return self.jobs_results or str(self.jobs_folder / "results")

    @property
    def devices(self) -> list[str]:
        """The distinct devices named, in order: an engine runs on each.

        `cuda` and `cuda:0` are the same device, the first GPU. `auto` counts as a device of its
        own: which one it stands for is known only in the engine's process.
        """
        distinct: dict[str, str] = {}
        for name in split(self.device):
            distinct.setdefault("cuda:0" if name == "cuda" else name, name)
        return list(distinct.values())

    @property
    def threads_per_engine(self) -> int:
        """CPU threads of each engine."""
        return self.threads or max(1, available_cores() // len(self.devices))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - what OwnVariables replaces
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where pydantic looks for values; the first that has one wins."""
        own = OwnVariables(settings_cls)
        return init_settings, own, dotenv_settings, file_secret_settings


GROUPS: dict[str, type[BaseSettings]] = {
    "server": ServerSettings,
    "models": ModelSettings,
    "cluster": ClusterSettings,
    "limits": LimitSettings,
    "jobs": JobSettings,
    "security": SecuritySettings,
}
"""The headings under which `ddpm serve --help` lists the settings."""
SECRETS = {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
"""The settings whose value is never shown."""


def check_database_url(text: str) -> None:
    """Raise ValueError unless `text` is `sqlite:///FILE`, or `postgresql://…` with its driver.

    It checks the form alone, without loading SQLAlchemy or connecting.
    """
    scheme, separator, _ = text.partition("://")
    if not separator:
        raise ValueError("not a database URL: postgresql://USER@HOST/NAME or sqlite:///FILE")
    if scheme not in ("sqlite", "postgresql"):
        raise ValueError(f"{scheme!r} is not sqlite or postgresql")
    parts = urlsplit(text)
    _ = parts.port  # raises ValueError when it is no number
    if scheme == "sqlite" and not parts.path.removeprefix("/"):
        raise ValueError("it names no file: sqlite:///FILE")
    if scheme == "postgresql" and find_spec("psycopg") is None:
        raise ValueError("PostgreSQL needs the extra 'postgres'")
