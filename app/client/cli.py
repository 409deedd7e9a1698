"""Implements `ddpm sample --server URL`: a server makes the images, the files are the same."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.client.cli_start import FlagError, Given
from app.client.client import Client
from app.client.errors import ClientError, ProblemError
from app.client.requests import SampleRequest
from app.client.results import Array
from app.client.status import ServedModel
from diffusion.labels import spread
from diffusion.output import Output
from diffusion.sample_flags import Chain, chain_of


class RemoteError(ValueError):
    """The server cannot do what the flags ask for. The message says why."""


def sample(args: argparse.Namespace) -> None:
    """Sample on the server that the flags name.

    Raises RemoteError, OutputError, and ValueError for a bad URL or a card that recommends nothing.
    """
    output = Output.at(args.out, force=args.force)
    # Nothing that is asked for is ignored in silence.
    for name in ("device", "runtime", "precision"):
        if (value := getattr(args, name)) != "auto":
            raise RemoteError(
                f"{name}: {value!r} is not allowed with --server: the server has its own"
            )
    if args.batch_size < 1:
        raise RemoteError(f"batch_size: {args.batch_size} is not allowed: it must be 1 or more")
    with Client(args.server, api_key=os.environ.get("DDPM_API_KEY")) as client:
        try:
            images = _fetch(client, args)
        except ProblemError as error:
            raise RemoteError(f"{args.server}: {error}") from error
        except FlagError as error:
            raise RemoteError(str(error)) from error
        except ClientError as error:  # which names the address itself
            raise RemoteError(str(error)) from error
    output.write(images)
    name = args.model or args.checkpoint
    print(f"{len(images)} samples of {name} on {args.server} written to {args.out}")


def _fetch(client: Client, args: argparse.Namespace) -> Array:
    """Fetch the images, uint8 (n,H,W,C)."""
    served = _served_model(client, args)
    model = served.model or client.model(served.name)
    if served.state != "ready":
        print(f"waiting: {args.server} loads {served.name} first", file=sys.stderr)
    parts = []
    C, H, W = model.image_shape
    given = Given.of(args, (C, H, W))
    n = given.count(args.n)
    chain = chain_of(args, served.name, model.recommended)
    with tqdm(total=n, desc="sampling", unit="image") as bar:
        for request in _requests(args, chain, given, n, served.name, model.limits["max_samples"]):
            parts.append(client.sample(request).array)
            bar.update(request.n)
    return np.concatenate(parts)


def _served_model(client: Client, args: argparse.Namespace) -> ServedModel:
    """The server's model that the flags name. Raises RemoteError where it has none."""
    served = {model.name: model for model in client.models()}
    field, value = ("model", args.model) if args.model else ("checkpoint", args.checkpoint)
    # A model of the Hub is called by its name alone, whatever its revision.
    name = args.model or Path(args.checkpoint.partition("@")[0]).name
    if name not in served:
        names = ", ".join(map(repr, served))
        raise RemoteError(f"{field}: {value!r} is not allowed: {args.server} serves {names}")
    return served[name]


def _requests(
    args: argparse.Namespace, chain: Chain, given: Given, total: int, model: str, max_samples: int
) -> Iterator[SampleRequest]:
    """Split the samples into requests that the server allows. No sample depends on its request."""
    one_label = args.label[0] if args.label and len(args.label) == 1 else None
    labels = spread(args.label, total) if args.label and one_label is None else None
    size = min(args.batch_size, max_samples)
    for start in range(0, max(1, total), size):  # with no samples at all, the server refuses
        n = min(size, total - start)
        yield SampleRequest(
            n=n,
            seed=args.seed,
            first_index=args.first_index + start,
            model=model,
            sampler=chain.sampler,
            steps=chain.steps,
            spacing=None if chain.spacing == "even" else chain.spacing,
            eta=args.eta or None,  # 0 is the default, and the flag of other samplers too
            variance=args.variance,
            labels=labels[start : start + n] if labels else one_label,
            guidance=chain.guidance,
            guidance_interval=args.guidance_interval,
            start=given.part(start, n),
            mask=given.mask,
            resamplings=args.resamplings,
            jump=args.jump,
        )
