"""The server on the GPU, over HTTP: image-steps a second, and one image beside large requests."""

import asyncio
import contextlib
import dataclasses
import tempfile
from pathlib import Path

import uvloop

from benchmarks.gpu.step import Step, main
from benchmarks.load import Client, Request
from benchmarks.networks import NETWORKS
from benchmarks.servers import Running, ours, running
from benchmarks.serving import overtake
from benchmarks.serving_report import Latencies

STEPS = 50
CLIENTS, IMAGES = 32, 32
"""Clients at saturation, and the images that each asks for at once."""
LARGE = 256
TIMEOUT = 60.0


def run(step: Step) -> None:
    """One server, of models/mnist."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        checkpoint = "models/mnist"
        flags: tuple[str, ...] = ("--precision=bfloat16",)
        if step.tiny:
            checkpoint, flags = NETWORKS["tiny"](Path(folder) / "tiny").folder, ("--runtime=eager",)
        kind = ours(checkpoint, f"--device={step.device.type}", *flags)
        server = stack.enter_context(running(kind, Path(folder) / "log"))
        uvloop.run(measure(step, server))


async def measure(step: Step, server: Running) -> None:
    """Saturation first: pictures in one file, and the same with one image a request; then one
    image alone, and beside large requests."""
    seconds = 0.5 if step.tiny else 5.0
    clients, images = (2, 2) if step.tiny else (CLIENTS, IMAGES)
    async with Client(server.url, TIMEOUT) as client:
        for n in (images, 1):
            request = Request("/sample", {"n": n, "sampler": "ddim", "steps": STEPS})
            await client.closed_loop(request, "warm-up", clients, seconds=seconds / 5)
            loop = await client.closed_loop(
                request, "saturation", clients, seconds=seconds, answers=3 * clients
            )
            step.write(
                "http",
                {
                    "network": "tiny" if step.tiny else "mnist",
                    "clients": clients,
                    "images": n,
                    "images_per_second": loop.images_per_second,
                    "image_steps_per_second": loop.images_per_second * STEPS,
                    **dataclasses.asdict(Latencies.of(loop.answers)),
                },
            )
        one = Request("/sample", {"n": 1, "sampler": "ddim", "steps": STEPS})
        large = Request("/sample", {"n": 4 if step.tiny else LARGE, **{"steps": STEPS}})
        alone, beside = await overtake(client, seconds / 2, one, large)
        await asyncio.sleep(0)
    a, b = Latencies.of(alone.answers), Latencies.of(beside.answers)
    step.write(
        "http-beside",
        {
            "large": large.images,
            "alone_p50": a.p50,
            "alone_p95": a.p95,
            "beside_p50": b.p50,
            "beside_p95": b.p95,
            "errors": a.errors + b.errors,
        },
    )


if __name__ == "__main__":
    main("serving", run)
