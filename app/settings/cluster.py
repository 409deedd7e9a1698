"""How a server uses engines on several machines."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from app.settings.values import Positive


class ClusterSettings(BaseSettings):
    """Engines on several machines, by Ray Serve (extra `cluster`)."""

    cluster: Literal["", "auto"] = Field(
        "",
        description="auto: serve through a Ray cluster that is started on this machine for it; "
        "empty: without Ray. Other clusters: `serve run app.cluster:application`",
    )
    cluster_engines: int = Field(
        1, ge=0, description="engines of the cluster, at least; 0: none while nobody asks"
    )
    cluster_max_engines: int = Field(
        0,
        ge=0,
        description="engines at most, of which there are as many as the waiting work needs; 0: "
        "always as many as at least",
    )
    cluster_engine_cpus: float = Field(
        1, gt=0, description="CPUs that Ray reserves for each engine; also its threads"
    )
    cluster_engine_gpus: float = Field(
        0, ge=0, description="GPUs that Ray reserves for each engine"
    )
    cluster_backlog_seconds: float = Field(
        10, gt=0, description="seconds of waiting work that are enough for one engine"
    )
    cluster_idle_seconds: Positive = Field(
        600, description="seconds after which engines that are not needed end"
    )
    cluster_silence_seconds: float = Field(
        5,
        gt=1,
        description="seconds without a sign of life from an engine's machine after which others "
        "do its work",
    )
