"""How long does a small request wait beside a large one?

    python -m benchmarks.overtaking

Starts a server on the shipped model and times one image of 20 DDIM steps, first alone, then while
64 images of 1000 steps are being made.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.app.server import REAL, Server

SHORT = {"n": 1, "seed": 1, "sampler": "ddim", "steps": 20}
LONG = {"n": 64, "seed": 2, "steps": 1000}


def seconds(server: Server, body: dict[str, Any]) -> float:
    """How long a request takes, as its client sees it."""
    started = time.perf_counter()
    server.post("/sample", body).raise_for_status()
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeat", type=int, default=20, help="number of small requests (%(default)s)"
    )
    parser.add_argument("--runtime", default="auto", help="runtime of the server (%(default)s)")
    parser.add_argument("--precision", default="auto", help="precision of it (%(default)s)")
    args = parser.parse_args()
    flags = [f"--runtime={args.runtime}", f"--precision={args.precision}", "--threads=0"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with (
            Server(log, *flags, engine=REAL) as server,
            ThreadPoolExecutor(1) as pool,
        ):
            model = server.client.get("/model").json()
            alone = [seconds(server, SHORT) for _ in range(args.repeat)]
            running = pool.submit(seconds, server, LONG)
            time.sleep(1)
            beside = [seconds(server, SHORT) for _ in range(args.repeat)]
            if running.done():
                sys.exit("the large request ended too soon to compare with")
            print("waiting for the large request", file=sys.stderr)
            long = running.result()
    small, small_beside = statistics.median(alone), statistics.median(beside)
    print(
        f"{platform.processor() or platform.machine()}, "
        f"{model['name']}, {model['runtime']} in {model['precision']}"
    )
    print(f"1 image, 20 steps, alone           {small:8.3f} s  (median of {args.repeat})")
    print(f"1 image, 20 steps, beside the next {small_beside:8.3f} s  {small_beside / small:.1f} x")
    print(f"64 images, 1000 steps              {long:8.3f} s  {long / small_beside:.0f} x that")


if __name__ == "__main__":
    main()
