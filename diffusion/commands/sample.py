"""`ddpm sample`: images from a checkpoint, made in this process."""

import argparse

from diffusion import pixels, sampling
from diffusion.sampling import Request, Source


def run(args: argparse.Namespace) -> None:
    """Generate the images that the flags ask for and write them.

    Raises CheckpointError, DeviceError or RequestError, before anything is written.
    """
    request = Request(
        seed=args.seed,
        n=args.n,
        first_index=args.first_index,
        labels=args.label,
        sampler=args.sampler,
        num_steps=args.steps,
        eta=args.eta,
        variance=args.variance,
        guidance=args.guidance,
    )
    source = Source.open(args.checkpoint, args.device, args.runtime)
    x_0 = sampling.generate(source, request, args.batch_size).numpy()
    pixels.write_images(args.out, pixels.to_uint8(x_0))
    print(f"{args.n} samples of {source.checkpoint.name} written to {args.out}")
