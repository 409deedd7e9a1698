"""Which models are served, and on which hardware."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from app.settings.values import Positive, RowsOrAuto, split
from diffusion.config import PrecisionName
from diffusion.folders import check_cache
from diffusion.sources.hub_files import MAX_WEIGHTS_BYTES
from diffusion.sources.hub_id import check_pattern

MAX_MODELS = 32
"""Models of one server, at most."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a model may be called."""


class ModelSettings(BaseSettings):
    """What is served, and on which hardware."""

    checkpoint: Annotated[list[str], NoDecode] = Field(
        ["mnist"],
        description="checkpoint folder, name of a built-in model, or owner/name[@revision] of a "
        "model on the Hugging Face Hub, which is fetched before the server starts; several, "
        "separated by commas or with the flag again: one server has them all, the first is the "
        "default. NAME=CHECKPOINT gives it a name of its own",
    )
    hub_allow: str = Field(
        "",
        description="models of the Hub that may be loaded over HTTP: patterns such as google/*, "
        "separated by commas; empty: none",
    )
    hub_max_bytes: Positive = Field(
        MAX_WEIGHTS_BYTES,
        description="bytes of the weights of a model of the Hub, at most",
    )
    model_memory: int = Field(
        0,
        ge=0,
        description="MiB of each device's memory that all loaded models together take, at most: "
        "the least recently used one is unloaded, and loaded again when it is asked for; 0: no "
        "bound",
    )
    device: str = Field(
        "auto",
        description="auto (a GPU if there is one, else the CPU), cpu, cuda or cuda:N; several, "
        "separated by commas: one engine on each",
    )
    runtime: Literal["auto", "openvino", "eager", "slots", "cuda-graph"] = Field(
        "auto",
        description="how the network is run; auto: slots on a GPU (cuda-graph where that fails its "
        "check), and on a CPU openvino if it is installed, else eager",
    )
    precision: PrecisionName = Field(
        "auto",
        description="auto, float32 or bfloat16; auto: bfloat16 on a CPU that multiplies that "
        "itself, where the checkpoint's card says that it loses nothing, else float32",
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads of each engine, 0..1024; 0: all cores that the server may use, "
        "divided among the engines",
    )
    max_batch: RowsOrAuto = Field(  # type: ignore[assignment]  # the default is validated, too
        "auto",
        ge=2,
        le=4096,
        description="largest number of rows that the network computes in one step, 2..4096; auto: "
        "16 on a CPU, and on a GPU the smallest with 80% of the best rows a second",
    )
    cache: str | None = Field(
        None,
        description="folder for compiled networks and measured speeds, with which the next start "
        "is faster; not set: ddpm in the user's cache folder; empty: nothing is kept",
    )
    hang_seconds: float = Field(
        60,
        gt=0,
        description="seconds that one step may take; an engine that takes longer is restarted",
    )

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _split_checkpoint(cls, value: object) -> object:
        return split(value) if isinstance(value, str) else value

    @field_validator("checkpoint")
    @classmethod
    def _check_checkpoint(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("name at least one checkpoint")
        if len(value) > MAX_MODELS:
            raise ValueError(f"{len(value)} checkpoints; a server has at most {MAX_MODELS} models")
        names: dict[str, str] = {}
        for entry in value:
            name, _ = name_and_checkpoint(entry)
            if name in names:
                raise ValueError(
                    f"{names[name]!r} and {entry!r} are both called {name!r}: give one a name of "
                    "its own, NAME=CHECKPOINT"
                )
            names[name] = entry
        return value

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        for name in value.split(","):
            kind, _, number = name.strip().partition(":")
            if kind not in ("auto", "cpu", "cuda") or (number and not number.isdecimal()):
                raise ValueError(f"{name!r} is not auto, cpu, cuda or cuda:N")
        return value

    @field_validator("hub_allow")
    @classmethod
    def _check_hub_allow(cls, value: str) -> str:
        for pattern in split(value):
            check_pattern(pattern)
        return value

    @field_validator("cache")
    @classmethod
    def _check_cache(cls, value: str | None) -> str | None:
        return None if value is None else check_cache(value)


def name_and_checkpoint(entry: str) -> tuple[str, str]:
    """What a model is called and the checkpoint that it is loaded from, of `NAME=CHECKPOINT`, or of
    a checkpoint alone, whose folder's name it has then. Raises ValueError for a name that is not
    allowed."""
    name, separator, checkpoint = entry.partition("=")
    if separator and checkpoint and NAME.fullmatch(name):
        return name, checkpoint
    unpinned = entry.partition("@")[0]  # without the revision of a model of the Hub
    name = Path(unpinned).name or Path(unpinned).resolve().name
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{entry!r} would be called {name!r}; a model's name has 1..64 letters, digits and "
            "._-, a letter or digit first: give it one, NAME=CHECKPOINT"
        )
    return name, entry
