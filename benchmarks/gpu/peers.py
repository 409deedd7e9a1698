"""diffusers' DDIMPipeline on the same network and card, compiled and not, by batch size."""

import contextlib
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Setting
from benchmarks.gpu.step import Step, main
from benchmarks.networks import NETWORKS, Network
from benchmarks.sampling import turn

WHO = {"diffusers": (256, 1), "diffusers-compiled": (256, 1, 64, 512)}
"""The batch sizes of each, the most important first: each takes up to a minute to compile."""
STEPS, ROUNDS = 50, 2


def run(step: Step) -> None:
    """In bfloat16, the best of a few chains."""
    name = "tiny" if step.tiny else "paper"
    who = {"diffusers": (2,)} if step.tiny else WHO
    with tempfile.TemporaryDirectory() as folder:
        network = NETWORKS[name](Path(folder) / name)
        for contender, sizes in who.items():
            for size in sizes:
                what = f"{contender}, {size}"
                step.attempt(what, partial(measure, step, network, contender, size))


def measure(step: Step, network: Network, contender: str, size: int) -> None:
    """One peer at one batch size: image-steps a second, and the seconds of 50 steps."""
    if step.left < 10:
        raise TimeoutError("no time left")
    steps = 3 if step.tiny else STEPS
    setting = Setting(network, "bfloat16", step.device, threads=1, max_batch=size)
    with contextlib.ExitStack() as stack:
        sample = CONTENDERS[contender].make(setting, stack)
        sample(size, 2)  # compiles
        sample(size, 2)  # records
        seconds = min(turn(sample, size, steps) for _ in range(ROUNDS))
    rate = size / seconds
    step.write(
        "peer",
        {
            "network": network.name,
            "contender": contender,
            "size": size,
            "precision": "bfloat16",
            "image_steps_per_second": rate,
            "chain_seconds": seconds * STEPS,
            "flops_per_second": rate * network.flops,
        },
    )


if __name__ == "__main__":
    main("peers", run)
