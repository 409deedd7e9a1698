"""No format takes more memory than it is counted as; measured on pictures of noise."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.generation import cost
from app.generation.collect import Result
from app.generation.formats import SAMPLE, TRAJECTORY, Format
from app.generation.plan import Plan
from app.wire.messages import Submit

FORMATS = {
    **{f"sample {name}": chosen for name, chosen in SAMPLE.items()},
    **{f"trajectory {name}": chosen for name, chosen in TRAJECTORY.items()},
}
SHAPES = [
    (1, 28, 28, 256, 40),
    (3, 32, 32, 64, 40),
    (3, 64, 64, 100, 2),
    (1, 128, 128, 64, 8),
]
"""Channels, height, width, samples, frames: some tens of megabytes."""
SLACK = 6 << 20
"""What an allocator and a library's tables take beside it."""


def make_plan(C: int, H: int, W: int, n: int, frames: int) -> Plan:
    shown = tuple(range(frames))
    submit = Submit("abc", "m#1", 7, tuple(range(n)), None, "ddim", frames - 1, shown=shown)
    return Plan(submit, "m", "1234", (C, H, W), (None,) * n, shown[::-1])


def gathered(chosen: Format, plan: Plan) -> Result:
    """A result of noise, picture by picture as it comes from an engine."""
    result, rng = Result(plan, chosen.needs), np.random.default_rng(0)
    result.timing = {"queued_s": 0.0, "compute_s": 0.0}
    for number in range(len(plan.labels)):
        result.put_image(number, rng.standard_normal(plan.image_shape, np.float32))
        for frame in range(len(plan.shown_times)):
            x_t, x_0_hat = rng.standard_normal((2, *plan.image_shape), np.float32)
            result.put_frame(number, frame, x_t, x_0_hat)
    return result


def answered(chosen: Format, plan: Plan) -> int:
    """Gather, encode and send: the size of the body."""
    encoded = chosen.encode(gathered(chosen, plan))
    assert sum(map(len, encoded.blocks)) == encoded.size
    return encoded.size


def kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1])


def main() -> None:
    """Print the bytes that one answer took at its peak, and those of its body."""
    name, *shape = sys.argv[1], *map(int, sys.argv[2:])
    chosen = FORMATS[name]
    C, H, W, n, frames = shape
    answered(chosen, make_plan(C, H, W, 2, 2))  # what is loaded or made once
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    size = answered(chosen, make_plan(C, H, W, n, frames))
    print((kilobytes("VmHWM") - before) << 10, size)  # noqa: T201


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("name", FORMATS)
def test_an_answer_takes_no_more_memory_than_it_is_counted_as(
    name: str, shape: tuple[int, int, int, int, int]
) -> None:
    command = [sys.executable, "-m", __name__, name, *map(str, shape)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, size = map(int, done.stdout.split())
    counted = FORMATS[name].cost(make_plan(*shape))
    assert peak <= counted + SLACK
    assert size <= counted
    assert counted < 5 * max(peak, SLACK), "so many are let in as fit"


def test_a_stream_counts_what_may_wait_for_its_reader_and_no_more_than_all_its_frames() -> None:
    short, long = make_plan(1, 28, 28, 1, 11), make_plan(1, 28, 28, 16, 1000)
    waiting = 8 << 20
    assert cost.stream(short, waiting, 16) < 11 * 7000 + 100_000 + 11 * 300
    assert waiting < cost.stream(long, waiting, 16) < waiting + 16 * 1000 * 300 + (1 << 20)


if __name__ == "__main__":
    main()
