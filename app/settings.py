"""The service's settings: one class, read from DDPM_… variables and `ddpm serve` flags."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import fsspec
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL

from app.jobs.database import parse_url

Positive = Annotated[int, Field(ge=1)]
PREFIX = "DDPM_"
MIN_KEY = 16
"""Characters of an API key, at least."""


class Settings(BaseSettings):
    """Every setting is a variable with the prefix DDPM_ and a flag of the same name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        cli_kebab_case=True,
        cli_hide_none_type=True,
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0: any free one")
    checkpoint: str = Field("mnist", description="checkpoint folder, or built-in name")
    device: str = Field(
        "auto",
        description="auto, cpu, cuda, cuda:1, or several with commas: an engine on each",
    )
    runtime: Literal["auto", "openvino", "eager", "cuda-graph"] = Field(
        "auto",
        description="how the network is run; auto: cuda-graph on a GPU, openvino on a CPU that "
        "has it",
    )
    threads: int = Field(
        0, ge=0, le=1024, description="CPU threads of an engine; 0: all cores, shared among engines"
    )
    max_batch: int = Field(16, ge=2, le=4096, description="network rows at once")
    max_samples: Positive = Field(256, description="samples in one request")
    max_frames: int = Field(1001, ge=2, description="frames of one trajectory")
    max_queue_samples: Positive = Field(4096, description="unfinished samples in the server")
    max_queue_steps: Positive = Field(
        4_096_000,
        description="denoising steps, over those samples, that the server still has to do",
    )
    max_client_samples: Positive = Field(2048, description="unfinished samples of one client")
    max_client_steps: Positive = Field(
        2_048_000, description="denoising steps still to do for one client"
    )
    max_wait_seconds: Positive = Field(
        3600, description="time after which a request is given up; `Prefer: wait=N` shortens it"
    )
    api_keys: SecretStr = Field(
        SecretStr(""), description="keys that clients need, with commas; empty: none is needed"
    )
    max_request_bytes: Positive = Field(1 << 20, description="size of a request's body")
    max_response_bytes: Positive = Field(
        256 << 20, description="uncompressed size of one answer's pictures"
    )
    hang_seconds: float = Field(
        60, gt=0, description="time that a step may take; an engine that takes longer is replaced"
    )
    body_seconds: Positive = Field(
        30, description="time that a client has for sending a request's head, and again its body"
    )
    log_format: Literal["text", "json"] = Field("text", description="of the lines on stderr")
    shutdown_seconds: Positive = Field(
        30, description="time that running requests have to finish after SIGTERM"
    )
    jobs_folder: Path = Field(
        Path("jobs"), description="folder of jobs: their database and their results, if not named"
    )
    jobs_url: str = Field(
        "",
        description="database of jobs, postgresql://… or sqlite:///FILE; empty: in jobs_folder",
    )
    jobs_results: str = Field(
        "",
        description="where jobs' results go: a folder, s3://bucket/prefix or what else fsspec "
        "reaches; empty: in jobs_folder",
    )
    jobs_budget_bytes: Positive = Field(20 << 30, description="size of all jobs' results together")
    jobs_client_bytes: Positive = Field(10 << 30, description="the same of one client's jobs")
    jobs_expiry_seconds: Positive = Field(
        7 * 24 * 3600, description="time that a finished job's result, or an idle job, is kept"
    )
    jobs_lease_seconds: Positive = Field(
        15, description="time without a sign of life after which a process' jobs are taken over"
    )
    max_job_samples: Positive = Field(50_000, description="samples in one job")
    max_jobs: Positive = Field(1000, description="unfinished jobs")
    max_client_jobs: Positive = Field(200, description="unfinished jobs of one client")
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="key of the webhooks' signatures; empty: no webhooks"
    )
    webhook_private: bool = Field(
        False, description="webhooks may go to private, loopback and link-local addresses"
    )

    @field_validator("jobs_url")
    @classmethod
    def _check_jobs_url(cls, value: str) -> str:
        if value:
            parse_url(value)
        return value

    @field_validator("jobs_results")
    @classmethod
    def _check_jobs_results(cls, value: str) -> str:
        try:
            fsspec.url_to_fs(value or ".")
        except ImportError as error:
            raise ValueError(f"fsspec lacks a package for it: {error}") from None
        return value

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        for name in value.split(","):
            kind, _, number = name.strip().partition(":")
            if kind not in ("auto", "cpu", "cuda") or (number and not number.isdecimal()):
                raise ValueError(f"{name!r} is not auto, cpu, cuda or cuda:N")
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: SecretStr) -> SecretStr:
        if any(len(key) < MIN_KEY for key in _split(value.get_secret_value())):
            raise ValueError(f"every key must have at least {MIN_KEY} characters")
        return value

    @property
    def keys(self) -> list[str]:
        """The API keys; empty: none is needed."""
        return _split(self.api_keys.get_secret_value())

    @property
    def jobs_database(self) -> URL:
        """The database of jobs."""
        default = URL.create("sqlite", database=str(self.jobs_folder / "jobs.sqlite"))
        return parse_url(self.jobs_url) if self.jobs_url else default

    @property
    def results_url(self) -> str:
        """Where jobs' results go."""
        return self.jobs_results or str(self.jobs_folder / "results")

    @property
    def devices(self) -> list[str]:
        """The devices named, without duplicates of `auto`."""
        return _split(self.device)

    @property
    def threads_per_engine(self) -> int:
        """CPU threads for each engine."""
        cores = len(os.sched_getaffinity(0))
        return self.threads or max(1, cores // len(self.devices))


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Those of the variables that have the prefix and set nothing: most are misspelt."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    return sorted(
        name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
