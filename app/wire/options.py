"""What an engine process is told when it starts. Imports no torch: the API process writes it."""

import argparse
from dataclasses import asdict, dataclass, fields
from typing import Literal


@dataclass(frozen=True)
class Options:
    """What an engine is told on its command line."""

    checkpoint: str
    device: str
    runtime: str
    threads: int
    max_batch: int
    log_format: Literal["text", "json"] = "text"

    def arguments(self) -> list[str]:
        """As flags, for `parse`."""
        return [f"--{name}={value}" for name, value in asdict(self).items()]

    @classmethod
    def parse(cls) -> tuple[int, int, "Options"]:
        """File descriptors of the socket and of the black box, and the options of this process."""
        parser = argparse.ArgumentParser(prog="python -m app.engine")
        parser.add_argument("socket", type=int)
        parser.add_argument("black_box", type=int)
        for field in fields(cls):
            parser.add_argument(f"--{field.name}", type=int if field.type is int else str)
        values = vars(parser.parse_args())
        return values.pop("socket"), values.pop("black_box"), cls(**values)
