"""The commands, each of which imports what it runs, and PyTorch with it, only when it is run."""

import argparse


def average(args: argparse.Namespace) -> None:
    """Run `ddpm average`."""
    from diffusion.commands import average

    average.run(args)


def data(args: argparse.Namespace) -> None:
    """Run `ddpm data`."""
    from diffusion.commands import data

    data.run(args)


def features(args: argparse.Namespace) -> None:
    """Run `ddpm features`."""
    from diffusion.commands import features

    features.run(args)


def init(args: argparse.Namespace) -> None:
    """Run `ddpm init`."""
    from diffusion.commands import init

    init.run(args)


def train(args: argparse.Namespace) -> None:
    """Run `ddpm train`."""
    from diffusion.commands import train

    train.run(args)


def sample(args: argparse.Namespace) -> None:
    """Run `ddpm sample`."""
    from diffusion.commands import sample

    sample.run(args)


def encode(args: argparse.Namespace) -> None:
    """Run `ddpm encode`."""
    from diffusion.commands import encode

    encode.run(args)


def bound(args: argparse.Namespace) -> None:
    """Run `ddpm bound`."""
    from diffusion.commands import bound

    bound.run(args)


def evaluate(args: argparse.Namespace) -> None:
    """Run `ddpm evaluate`."""
    from diffusion.commands import evaluate

    evaluate.run(args)


def tune(args: argparse.Namespace) -> None:
    """Run `ddpm tune`."""
    from diffusion.commands import tune

    tune.run(args)


def checkpoint(args: argparse.Namespace) -> int:
    """Run `ddpm checkpoint`."""
    from diffusion.commands import checkpoint

    return checkpoint.run(args)


def export(args: argparse.Namespace) -> None:
    """Run `ddpm export`."""
    from diffusion.commands import export

    export.run(args)


def import_checkpoint(args: argparse.Namespace) -> None:
    """Run `ddpm import`."""
    from diffusion.commands import import_checkpoint

    import_checkpoint.run(args)
