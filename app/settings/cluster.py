"""How a server uses engines on several machines."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from app.settings.values import Positive

MAX_ENGINES = 10_000
"""More engines than any Ray cluster has had."""
SMALLEST_SHARE = 0.0001
"""The smallest part of a CPU or GPU that Ray knows."""


class ClusterSettings(BaseSettings):
    """Engines on several machines, by Ray Serve (extra `cluster`)."""

    cluster: Literal["", "auto"] = Field(
        "",
        description="auto: serve through a Ray cluster that is started on this machine for it; "
        "empty: without Ray. Other clusters: `serve run app.cluster:application`",
    )
    cluster_engines: int = Field(
        1,
        ge=0,
        le=MAX_ENGINES,
        description="engines of the cluster, at least; 0: none while nobody asks",
    )
    cluster_max_engines: int = Field(
        0,
        ge=0,
        le=MAX_ENGINES,
        description="engines at most, of which there are as many as the waiting work needs; 0: "
        "always as many as at least",
    )
    cluster_engine_cpus: float = Field(
        1,
        gt=0,
        allow_inf_nan=False,
        description="CPUs that Ray reserves for each engine, a whole number or less than 1; also "
        "its threads",
    )
    cluster_engine_gpus: float = Field(
        0,
        ge=0,
        allow_inf_nan=False,
        description="GPUs that Ray reserves for each engine, a whole number or less than 1",
    )
    cluster_backlog_seconds: float = Field(
        10,
        gt=0,
        allow_inf_nan=False,
        description="seconds of waiting work that are enough for one engine",
    )
    cluster_idle_seconds: Positive = Field(
        600, description="seconds after which engines that are not needed end"
    )
    cluster_silence_seconds: float = Field(
        5,
        gt=1,
        allow_inf_nan=False,
        description="seconds without a sign of life from an engine's machine after which others "
        "do its work",
    )

    @field_validator("cluster_max_engines")
    @classmethod
    def _check_max_engines(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("cluster_engines", 0)
        if 0 < value < least:
            raise ValueError(f"it must be 0, or at least cluster_engines, which is {least}")
        return value

    @field_validator("cluster_engine_cpus", "cluster_engine_gpus")
    @classmethod
    def _check_amount(cls, value: float) -> float:
        if (value > 1 and value != int(value)) or 0 < value < SMALLEST_SHARE:
            raise ValueError(f"Ray gives a whole number, or {SMALLEST_SHARE}..1")
        return value
