"""`ddpm sample`: images from a checkpoint, made in this process."""

import argparse

from diffusion import pixels, sampling
from diffusion.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from diffusion.commands import start
from diffusion.output import Output
from diffusion.sample_flags import chain_of
from diffusion.sampling import Request, RequestError, Source


def run(args: argparse.Namespace) -> None:
    """Generate the images that the flags ask for and write them.

    Raises OutputError, CheckpointError, RequestError, StartError, LabelError or DeviceError, and
    ValueError for a card that recommends nothing; before anything is computed, unless the disk is
    full.
    """
    if args.checkpoint is None:
        raise CheckpointError("CHECKPOINT is missing: name a folder, or a built-in model")
    output = Output.at(args.out, force=args.force)
    start.check_flags(args)
    checkpoint = open_checkpoint(args.checkpoint)
    output.check_channels(checkpoint.unet.in_channels)
    request = request_of(args, checkpoint)
    sampling.check_memory(request.n, checkpoint)
    request.check(checkpoint)
    if args.batch_size < 1:
        raise RequestError(f"batch_size: {args.batch_size} is not allowed: it must be 1 or more")
    source = Source.of(checkpoint, args.device, args.runtime, args.precision, args.cache)
    x_0 = sampling.generate(source, request, args.batch_size).numpy()
    output.write(pixels.to_uint8(x_0))
    samples = "1 sample" if request.n == 1 else f"{request.n} samples"
    print(f"{samples} of {checkpoint.name} written to {args.out}")


def request_of(args: argparse.Namespace, checkpoint: Checkpoint) -> Request:
    """Read what the flags ask for, pictures included. Raises ValueError or StartError."""
    image_shape = checkpoint.unet.image_shape
    chain = chain_of(args, checkpoint.name, checkpoint.card.recommended)
    begins = start.start_of(args, image_shape)
    return Request(
        seed=args.seed,
        n=start.count(args.n, begins),
        first_index=args.first_index,
        labels=args.label,
        sampler=chain.sampler,
        num_steps=chain.steps,
        spacing=chain.spacing,
        eta=args.eta,
        variance=args.variance,
        guidance=chain.guidance,
        guidance_interval=args.guidance_interval and tuple(args.guidance_interval),
        start=begins,
        mask=start.mask_of(args, image_shape),
    )
