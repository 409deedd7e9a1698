"""A quarter of an hour on a GPU: every experiment, test and benchmark that needs one, at once.

    python -m benchmarks.gpu_session --out gpu-session        # or make gpu-session

Takes less than ten minutes. The steps are in the order of their value, each a process of its own
with a limit; each result is a line that is appended to results.jsonl at once, and tables.md is
written again after each step, so that a session that is cut loses only what follows. What a step
prints goes to log.txt. A step that fails, or has no time left, is named in the tables.

    python -m benchmarks.gpu_session --tiny                   # tries all of it on a CPU
    python -m benchmarks.gpu_session --only engine serving    # again, into the same folder
    python -m benchmarks.gpu_report gpu-session/results.jsonl # the tables, any time, anywhere
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.gpu.results import Results
from benchmarks.gpu_report import report

SECONDS = 565.0
LEAST_SECONDS = 15.0
"""A step is not begun with less: PyTorch alone takes several."""


@dataclass(frozen=True)
class Part:
    """A step of a session: the module in benchmarks/gpu, and the seconds that it may take;
    `variables` are added to the environment."""

    name: str
    module: str
    seconds: float
    variables: Mapping[str, str] = field(default_factory=dict)


PARTS = (
    Part("card", "card", 40),
    Part("network", "network", 90),
    Part("engine", "engine", 110),
    Part("peers", "peers", 100),
    Part("serving", "serving", 60),
    Part("exact", "exact", 40),
    Part("suite", "suite", 90),
    Part("invariance", "invariance", 30),
    Part("compiled", "compiled", 100),
    # Products whose sums are not split, as vLLM's batch-invariant mode has them
    Part("invariance-unsplit", "invariance", 30,
         {"CUBLAS_WORKSPACE_CONFIG": ":16:8", "CUBLASLT_WORKSPACE_SIZE": "1"}),
    Part("profile", "profile", 20),
)  # fmt: skip


@dataclass(frozen=True)
class Session:
    """Where the results go, and until when (time.monotonic)."""

    out: Path
    device: str
    tiny: bool
    ends: float

    @property
    def results(self) -> Path:
        """What was measured, a line each."""
        return self.out / "results.jsonl"

    def run(self, part: Part) -> str:
        """Run a step, and write the tables again. Returns how it went."""
        seconds = min(part.seconds, self.ends - time.monotonic())
        started = time.monotonic()
        status = "no time" if seconds < LEAST_SECONDS else self._process(part, seconds)
        taken = time.monotonic() - started
        line = {"step": part.name, "kind": "step", "status": status, "seconds": round(taken, 1)}
        with self.results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        (self.out / "tables.md").write_text(report(Results.read(self.results)) + "\n")
        return status

    def _process(self, part: Part, seconds: float) -> str:
        command = [
            sys.executable, "-m", f"benchmarks.gpu.{part.module}", f"--out={self.results}",
            f"--device={self.device}", f"--seconds={seconds - 5:.0f}", *(["--tiny"] * self.tiny),
        ]  # fmt: skip
        with (self.out / "log.txt").open("a") as log:
            print(f"== {part.name}", file=log, flush=True)
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **part.variables},
                start_new_session=True,
            )  # fmt: skip
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                return "cut"
            finally:
                end_group(process)
        return "done" if status == 0 else f"failed with status {status}"


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of a step: itself, and servers and engines that it has started."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        return
    process.wait()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_session", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    names = [part.name for part in PARTS]
    add = parser.add_argument
    add("--out", type=Path, default=Path("gpu-session"), help="folder of results (%(default)s)")
    add("--only", nargs="+", choices=names, metavar="STEP", help=f"these steps: {', '.join(names)}")
    add("--skip", nargs="+", choices=names, metavar="STEP", default=[], help="all but these steps")
    add("--seconds", type=float, default=SECONDS, help="time for all of it (%(default)s)")
    add("--tiny", action="store_true", help="try it all on a CPU, with a tiny network")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status: 1 where a step failed, 2 where there
    is no GPU."""
    args = parse(argv)
    if not args.tiny and not torch.cuda.is_available():
        print("no GPU: PyTorch finds none here; --tiny tries the steps on a CPU", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    device = "cpu" if args.tiny else "cuda"
    session = Session(args.out, device, args.tiny, time.monotonic() + args.seconds)
    chosen = [p for p in PARTS if p.name in (args.only or [p.name]) and p.name not in args.skip]
    failed = False
    for place, part in enumerate(chosen, start=1):
        left = session.ends - time.monotonic()
        print(f"{place}/{len(chosen)} {part.name} ({left:.0f} s left)", file=sys.stderr, flush=True)
        failed |= session.run(part).startswith("failed")
    print((args.out / "tables.md").read_text())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
