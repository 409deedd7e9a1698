"""What an engine process is told when it starts. Imports no torch: the API process writes it."""

import argparse
from dataclasses import asdict, dataclass, fields
from typing import Literal

from diffusion.config import PrecisionName

AUTO = 0


@dataclass(frozen=True)
class Options:
    """The settings of one engine, whatever models it loads."""

    device: str
    runtime: str
    threads: int
    precision: PrecisionName = "auto"
    cache: str | None = None  # as diffusion.file_cache takes it
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def arguments(self) -> list[str]:
        """The options as flags, which `parse` reads."""
        given = asdict(self).items()
        return [f"--{name}={value}" for name, value in given if value is not None]

    @classmethod
    def parse(cls) -> tuple[int, int, "Options"]:
        """The file descriptors of the socket and of the flight recorder, and the options of this
        process, from its command line."""
        parser = argparse.ArgumentParser(prog="python -m app.engine")
        parser.add_argument("socket", type=int)
        parser.add_argument("recorder", type=int)
        for field in fields(cls):
            parser.add_argument(f"--{field.name}", type=int if field.type is int else str)
        values = vars(parser.parse_args())
        return values.pop("socket"), values.pop("recorder"), cls(**values)
