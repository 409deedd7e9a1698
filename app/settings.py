"""The service's settings: one class, read from DDPM_… variables and `ddpm serve` flags."""

import os
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Positive = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """Every setting is a variable with the prefix DDPM_ and a flag of the same name."""

    model_config = SettingsConfigDict(
        env_prefix="DDPM_",
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
    runtime: Literal["auto", "openvino", "eager"] = Field(
        "auto", description="how the network is run; auto: openvino on a CPU that has it"
    )
    threads: int = Field(
        0, ge=0, le=1024, description="CPU threads of an engine; 0: all cores, shared among engines"
    )
    max_batch: int = Field(16, ge=2, le=4096, description="network rows in one step")
    max_samples: Positive = Field(256, description="samples in one request")
    max_frames: int = Field(1001, ge=2, description="frames of one trajectory")
    max_queue_samples: Positive = Field(4096, description="unfinished samples in the server")
    max_request_bytes: Positive = Field(1 << 20, description="size of a request's body")
    max_response_bytes: Positive = Field(
        256 << 20, description="uncompressed size of one answer's pictures"
    )
    hang_seconds: float = Field(
        60, gt=0, description="time without a step after which an engine with work is replaced"
    )
    body_seconds: Positive = Field(
        30, description="time that a client has for sending a request's head, and again its body"
    )
    log_format: Literal["text", "json"] = Field("text", description="of the lines on stderr")
    shutdown_seconds: Positive = Field(
        30, description="time that running requests have to finish after SIGTERM"
    )

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        for name in value.split(","):
            kind, _, number = name.strip().partition(":")
            if kind not in ("auto", "cpu", "cuda") or (number and not number.isdecimal()):
                raise ValueError(f"{name!r} is not auto, cpu, cuda or cuda:N")
        return value

    @property
    def devices(self) -> list[str]:
        """The devices named, without duplicates of `auto`."""
        return [name.strip() for name in self.device.split(",")]

    @property
    def threads_per_engine(self) -> int:
        """CPU threads for each engine."""
        cores = len(os.sched_getaffinity(0))
        return self.threads or max(1, cores // len(self.devices))
