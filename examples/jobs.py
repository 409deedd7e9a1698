"""Images made in the background, as a job. `python examples/jobs.py [URL]` writes images.npz."""

# %% A job is on the server's disk when it is accepted, and outlives the server
import asyncio
import sys

import numpy as np

from app.client import AsyncClient, NotFound, SampleRequest

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"


async def main() -> None:
    async with AsyncClient(url) as client:
        job = await client.submit(SampleRequest(n=60, seed=42, sampler="dpmpp", steps=10))
        print(f"{job.total} images, {job.status}")

        # %% Wait, with a progress bar; a connection that breaks is made again
        done = await client.wait(job)
        print(f"{done.done} images, {done.status}")

        # %% Download; a download that broke goes on where it was
        path = await client.download(job, "images.npz")
        with np.load(path) as arrays:
            print(f"{path}: {arrays['images'].shape}")

        # %% Remove the job and its result
        await client.cancel(job)
        try:
            await client.job(job)
        except NotFound as error:
            print(error)


asyncio.run(main())
