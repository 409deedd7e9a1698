"""What does Ray cost between the API process and its engines?

    python -m benchmarks.cluster

Starts a server without Ray, then one with a replica of as many threads, then one with a replica for
each thread, and asks each for the same: small requests one after another, a stream of all frames of
one image, and 64 images at once. Needs the extra `cluster`.
"""

import argparse
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.app.server import REAL, Server

SMALL = {"n": 1, "seed": 1, "sampler": "ddim", "steps": 2}
FRAMES = {"n": 1, "seed": 1, "sampler": "ddim", "steps": 100, "frames": 101}
MANY = {"n": 64, "seed": 2, "sampler": "ddim", "steps": 20}


@dataclass(frozen=True)
class Figures:
    """Seconds of a small request and for each frame of a stream; steps a second of all images."""

    small: float
    frame: float
    rate: float


def seconds(server: Server, path: str, body: dict[str, Any], accept: str) -> float:
    """How long a request takes, as its client sees it."""
    started = time.perf_counter()
    server.post(path, body, accept).raise_for_status()
    return time.perf_counter() - started


def measure(repeat: int, flags: list[str]) -> Figures:
    """Each figure is the median of so many requests, but that of all images: the best of three."""
    with tempfile.TemporaryDirectory() as folder:
        with Server(Path(folder) / "server.log", *flags, engine=REAL) as server:
            time.sleep(2.0)  # the second engine is warm, too
            seconds(server, "/sample", MANY, "image/png")
            small = [seconds(server, "/sample", SMALL, "image/png") for _ in range(repeat)]
            path = "/denoise-trajectory"
            frames = [seconds(server, path, FRAMES, "text/event-stream") for _ in range(repeat)]
            many = [seconds(server, "/sample", MANY, "image/png") for _ in range(3)]
    return Figures(
        statistics.median(small),
        statistics.median(frames) / FRAMES["frames"],  # type: ignore[operator]
        MANY["n"] * MANY["steps"] / min(many),  # type: ignore[operator]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=20, help="small requests (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of all engines (%(default)s)")
    parser.add_argument("--checkpoint", default="mnist", help="the model (%(default)s)")
    args = parser.parse_args()
    common = [f"--checkpoint={args.checkpoint}", "--precision=float32"]
    whole = f"--threads={args.threads}"
    contenders = {
        "without Ray": [whole],
        "one replica": [whole, "--cluster=auto"],
        "a replica for each thread": [
            "--threads=1", "--cluster=auto", f"--cluster-engines={args.threads}"
        ],
    }  # fmt: skip
    print(
        f"{platform.processor() or platform.machine()}, {args.checkpoint}, {args.threads} threads"
    )
    for name, flags in contenders.items():
        found = measure(args.repeat, [*common, *flags])
        print(
            f"{name:26} {found.small * 1000:7.1f} ms a request of 2 steps"
            f"  {found.frame * 1000:6.2f} ms a frame  {found.rate:7.0f} steps/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
