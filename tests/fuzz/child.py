"""One process that reads many inputs, each within bounds of memory and time.

    python -m tests.fuzz.child JOB

JOB is a `Job` as JSON. Each fault is a line of JSON on stdout, and the last line is the `Tally`.
The number of the input that is being read is in the file `progress`, for the case that it ends the
process.
"""

import dataclasses
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch

from tests.fuzz.targets import Target, targets

SECONDS = 10.0
"""Time of the processor that one input has: a picture of 89 million pixels takes half of it."""
MEMORY = 2 << 30
"""Bytes that all inputs may take beside what the process has at its start."""
OURS = ("/app/", "/diffusion/")


class TooSlow(BaseException):
    """An input has taken its time. No reader catches this."""


@dataclass(frozen=True)
class Job:
    """The inputs `start` to `stop` of a target, or those that are kept in the files `kept`."""

    target: str
    start: int = 0
    stop: int = 0
    seed: int = 0
    progress: str = os.devnull
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """An input that was neither read nor refused: what was raised, and where in this project."""

    input: str
    error: str
    where: str


@dataclass
class Tally:
    """What became of the inputs."""

    read: int = 0
    refused: int = 0
    faults: int = 0


def input_of(target: Target, name: str, seed: int, index: int) -> bytes:
    """The input of a number: always the same one."""
    return target.make(Random(f"{name} {seed} {index}"))


def inputs(job: Job, target: Target) -> Iterator[tuple[str, bytes]]:
    """The inputs of a job, each with its number or file, which is noted before it is made."""
    for name in (*job.kept, *range(job.start, job.stop)):
        Path(job.progress).write_text(str(name))
        if isinstance(name, str):
            yield name, Path(name).read_bytes()
        else:
            yield str(name), input_of(target, job.target, job.seed, name)


@contextmanager
def time_bound(seconds: float) -> Iterator[None]:
    """A block that may take so much time of the processor, or raises TooSlow."""

    def stop(*_: object) -> None:
        raise TooSlow(f"more than {seconds} seconds")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def bound_memory(extra: int) -> None:
    """Let the process take `extra` bytes beside those that it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fault_of(name: str, error: BaseException) -> Fault:
    """Describe what an input did: the last place of this project that it came by."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if any(folder in frame.filename for folder in OURS)]
    last = (ours or frames)[-1]
    where = f"{'/'.join(Path(last.filename).parts[-3:])}:{last.lineno} {last.name}"
    return Fault(name, f"{type(error).__name__}: {str(error)[:200]}", where)


def run(job: Job, target: Target) -> Tally:
    """Read the inputs of a job; print their faults."""
    tally = Tally()
    for name, raw in inputs(job, target):
        try:
            with time_bound(SECONDS):
                target.read(raw)
            tally.read += 1
        except target.refusals:
            tally.refused += 1
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            tally.faults += 1
            print(json.dumps(dataclasses.asdict(fault_of(name, error))), flush=True)
    return tally


def main() -> None:
    """Do the job that the command line names."""
    values = json.loads(sys.argv[1])
    job = Job(**{**values, "kept": tuple(values["kept"])})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ddpm-fuzz-") as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        target = targets(Path(folder))[job.target]
        bound_memory(MEMORY)
        print(json.dumps(dataclasses.asdict(run(job, target))))


if __name__ == "__main__":
    main()
