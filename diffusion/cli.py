"""The commands of the science: train, sample, evaluate, export. `app.cli` adds serve."""

import argparse
import dataclasses
import json
import logging
import os
import platform
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from safetensors.torch import load_file

from diffusion import pixels, sampling
from diffusion.checkpoint import (
    MODELS,
    Checkpoint,
    ModelCard,
    find_checkpoint,
    open_checkpoint,
    save_checkpoint,
)
from diffusion.config import Config, from_dict
from diffusion.data import datasets
from diffusion.data.readers import DataError, Images
from diffusion.evaluation import evaluate as evaluation
from diffusion.evaluation import features
from diffusion.evaluation.cache import Parts
from diffusion.evaluation.classifier import Classifier, load_classifier, save_classifier
from diffusion.evaluation.classifier import train as train_classifier
from diffusion.evaluation.evaluate import Evaluation
from diffusion.evaluation.features import FeaturesName
from diffusion.evaluation.report import ReportError, check_plots, read_quality
from diffusion.evaluation.report import write as write_report
from diffusion.parameterization import EpsModel
from diffusion.samplers import Conditioning, ddim, sample
from diffusion.sampling import Request, Source
from diffusion.spacing import evenly_spaced
from diffusion.training import distributed
from diffusion.training.batches import null_label
from diffusion.training.plots import draw_losses
from diffusion.training.trainer import Trainer, TrainingError, Writer, saved_states
from diffusion.unet import UNet

USER_ERRORS = (TrainingError, ValueError)  # the packages' other errors are ValueErrors
GRID_ROWS = 8
CLASSIFIER_EPOCHS = 5

Subparsers = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Any) -> None:
    """Add train, sample, evaluate and export to the sub-parsers `commands`."""
    _add_train(commands)
    _add_sample(commands)
    _add_evaluate(commands)
    _add_export(commands)


def _command(commands: Any, name: str, help_text: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_train(commands: Any) -> None:
    parser = _command(
        commands, "train", "Train a model (Algorithm 1), or go on where a run stopped.",
        "ddpm train configs/mnist.toml --out runs/mnist",
    )  # fmt: skip
    parser.add_argument("config", type=Path, help="TOML file; see configs/")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run; resumed if used"
    )
    parser.add_argument("--data", help="instead of the config's: a name, or a path to images")
    parser.add_argument("--start", help="checkpoint whose weights are the first (random ones)")
    parser.add_argument(
        "--until", type=int, metavar="STEP", help="stop there, to go on another time"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (%(default)s)")
    parser.add_argument("--name", help="of the model (the config's file name)")
    parser.add_argument("--strict", action="store_true", help="stop at a corrupt image")
    parser.set_defaults(run=train)


def _add_sample(commands: Any) -> None:
    parser = _command(
        commands, "sample", "Generate images with Algorithm 2 or a faster sampler.",
        "ddpm sample mnist --n 10 --label 0 1 2 3 4 5 6 7 8 9 --sampler ddim --out digits.png",
    )  # fmt: skip
    parser.add_argument("checkpoint", help="folder, or built-in name")
    parser.add_argument("--out", type=Path, default=Path("samples.png"),
                        help="grid .png, .npz, or folder of PNGs (%(default)s)")  # fmt: skip
    parser.add_argument("--label", type=int, nargs="+", help="one label, or one for each sample")
    sampling.add_arguments(parser)
    parser.set_defaults(run=sample_command)


def _add_evaluate(commands: Any) -> None:
    parser = _command(
        commands, "evaluate",
        "Measure a model's bound and samples; goes on where it stopped. Writes report.html.",
        "ddpm evaluate mnist --out reports/mnist --samples 500 --sampler ddpm ddim:50 dpmpp:20",
    )  # fmt: skip
    add = parser.add_argument
    add("checkpoint", help="folder, or built-in name")
    add("--out", type=Path, required=True, help="folder of the report; gone on with if used")
    add("--data", help="a name, or a path to images (what the model was trained on)")
    add("--images", type=int, default=100, help="of each split, for the bound (%(default)s)")
    add("--terms", type=int,
        help="of each image, drawn from the chain: more images in the same time (all)")  # fmt: skip
    add("--samples", type=int, default=500, help="by each sampler (%(default)s)")
    add("--sampler", nargs="+", default=["ddpm", "ddim", "dpmpp"],
        help="each NAME, NAME:STEPS or NAME:STEPS@GUIDANCE (%(default)s)")  # fmt: skip
    add(
        "--features",
        default="auto",
        choices=get_args(FeaturesName),
        help="for distances; auto: inception when its weights are at hand, else classifier",
    )
    add("--classifier", type=Path, help="folder; left out: the shipped one, or one is trained")
    add("--seed", type=int, default=0, help="of everything drawn (%(default)s)")
    add("--batch-size", type=int, default=64, help="network rows at once (%(default)s)")
    sampling.add_device(parser)
    parser.set_defaults(run=evaluate)


def _add_export(commands: Any) -> None:
    parser = _command(
        commands, "export", "Write a run's EMA, or another checkpoint, as a diffusers folder.",
        "ddpm export runs/mnist models/mine --name mine",
    )  # fmt: skip
    parser.add_argument("source", help="folder of a run, or a checkpoint")
    parser.add_argument("out", type=Path, help="folder to write; an older one is replaced")
    parser.add_argument("--name", help="of the model (the source's)")
    parser.add_argument(
        "--report", type=Path, nargs="+", default=[],
        help="an evaluation's report.json, for the card of a checkpoint; and further ones",
    )  # fmt: skip
    parser.set_defaults(run=export)


def train(args: argparse.Namespace) -> None:
    """`ddpm train`."""
    config = Config.read(args.config)
    with distributed.join(args.device) as (worker, device):
        with worker.first_goes_first():
            images = datasets.load(args.data or config.data, "train", strict=args.strict)
        start = open_checkpoint(args.start) if args.start else None
        first = start.load() if start else None
        trainer = Trainer(config, images, args.out, device, worker, first)
        logs = _summary_writer(args.out / "tensorboard") if worker.is_first else nullcontext()
        with logs as writer:
            trainer.run(writer, write_sample_grid, args.until)
    if not worker.is_first:
        return
    if (args.out / "log.jsonl").exists():
        _draw_losses(args.out)
    if trainer.step < config.training.num_steps:
        print(f"at step {trainer.step} of {config.training.num_steps}; the same command goes on")
        return
    card = ModelCard(
        name=args.name or args.config.stem,
        data=Path(args.data).name if args.data else config.data,
        command=f"ddpm train {args.config}" + (f" --start {args.start}" if start else ""),
        trained={"start": _history(start)} if start else {},
    )
    export_run(args.out, args.out / "model", card)
    print(f"model written to {args.out / 'model'}; try: ddpm sample {args.out / 'model'}")


def _history(start: Checkpoint) -> dict[str, Any]:
    """How the weights came about that a run started from."""
    card = start.card
    return {"sha256": start.sha256, "command": card.command, "trained": card.trained}


def _draw_losses(run: Path) -> None:
    """RUN/loss.png, where there is matplotlib to draw it with."""
    try:
        draw_losses(run)
    except ImportError:
        print("matplotlib is not installed: no loss.png", file=sys.stderr)


def _summary_writer(folder: Path) -> Any:
    """A TensorBoard writer, or None with a hint where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("tensorboard is not installed: scalars go to log.jsonl only", file=sys.stderr)
        return nullcontext()
    return SummaryWriter(str(folder))


def write_sample_grid(trainer: Trainer, writer: Writer | None) -> None:
    """samples/step-….png: a column per label, DDIM with 50 steps from the EMA, the same noise."""
    labels = len(trainer.batches.data.classes) if trainer.batches.is_conditional else 0
    columns = labels or GRID_ROWS
    count = columns * GRID_ROWS
    indices = torch.arange(count, device=trainer.device)
    label = indices % columns if labels else None
    T = trainer.process.num_timesteps
    table = ddim(trainer.process, torch.tensor(evenly_spaced(T, min(50, T))))
    shape, clip = trainer.config.unet.image_shape, trainer.config.process.clip
    model = EpsModel(trainer.ema.model, trainer.process, trainer.config.process.prediction)
    model.to(trainer.device)
    seeds = torch.zeros_like(indices)
    *_, last = sample(model, table, seeds, indices, shape, Conditioning(label), clip)
    grid = pixels.tile(pixels.to_uint8(last.x_t.cpu().numpy()), columns)
    folder = trainer.folder / "samples"
    folder.mkdir(exist_ok=True)
    pixels.picture(grid).save(folder / f"step-{trainer.step:08d}.png")
    if writer is not None:
        writer.add_image("samples", np.moveaxis(grid, -1, 0), trainer.step)


def sample_command(args: argparse.Namespace) -> None:
    """`ddpm sample`."""
    request = Request.from_arguments(args, args.label)
    source = Source.open(args.checkpoint, args.device, args.runtime)
    x_0 = sampling.generate(source, request, args.batch_size).numpy()
    pixels.write_images(args.out, pixels.to_uint8(x_0))
    print(f"{args.n} samples of {source.checkpoint.name} written to {args.out}")


def evaluate(args: argparse.Namespace) -> None:
    """`ddpm evaluate`."""
    check_plots()
    source = Source.open(args.checkpoint, args.device, args.runtime)
    data = args.data or source.checkpoint.card.data
    if data is None:
        raise DataError("data: the model's card does not name any; give --data")
    T = source.process.num_timesteps
    settings = evaluation.Settings(
        args.images, args.samples,
        tuple(evaluation.Sampler.parse(text, T) for text in args.sampler),
        args.seed, args.batch_size, args.terms,
    )  # fmt: skip
    train_images, test_images = (datasets.load(data, split) for split in ("train", "test"))
    key = {"sha256": source.checkpoint.sha256, "data": data, **settings.key()}
    args.out.mkdir(parents=True, exist_ok=True)
    classifier = _find_classifier(args.classifier, Path(data).name, train_images, args.out)
    extract = features.pick(args.features, classifier)
    parts = Parts(args.out, {**key, "features": extract.name, "runtime": source.runtime})
    flags = f"{settings.flags()} --features {args.features}"
    report = {
        "command": f"ddpm evaluate {args.checkpoint} {flags}",
        **evaluation.run(
            Evaluation(source, train_images, test_images, classifier, extract, settings, parts)
        ),
    }
    print(f"report written to {write_report(report, args.out)}")


def _find_classifier(given: Path | None, data: str, images: Images, out: Path) -> Classifier:
    """The one given, the shipped one for that data, or one trained on it, kept in `out`."""
    shipped, trained = MODELS / f"{data}-classifier", out / "classifier"
    if given is None and not shipped.is_dir() and not trained.is_dir():
        save_classifier(train_classifier(images, CLASSIFIER_EPOCHS), trained, {"data": data})
    return load_classifier(given or (shipped if shipped.is_dir() else trained))


def export(args: argparse.Namespace) -> None:
    """`ddpm export`."""
    if saved_states(Path(args.source)):
        if args.report:
            raise ReportError("report: evaluate and export the run's model/, a checkpoint")
        export_run(Path(args.source), args.out, ModelCard(name=args.name or args.out.name))
    else:
        checkpoint = open_checkpoint(find_checkpoint(args.source))
        card = checkpoint.card
        if args.name:
            card = dataclasses.replace(card, name=args.name)
        if args.report:
            card = dataclasses.replace(card, quality=read_quality(args.report, checkpoint.sha256))
        save_checkpoint(args.out, checkpoint.load(), checkpoint.process, card)
    print(f"checkpoint written to {args.out}")


def export_run(run: Path, out: Path, card: ModelCard) -> None:
    """The EMA of a run's last state as a checkpoint; the run fills in what the card leaves out."""
    state = saved_states(run)[-1]
    meta = json.loads((state / "state.json").read_text())
    config = from_dict(Config, meta["config"])
    model = UNet(config.unet)
    model.load_state_dict(load_file(state / "ema.safetensors"))
    trained = {
        "steps": meta["step"],
        "images": meta["step"] * config.training.batch_size,
        "config": meta["config"]["training"],
        "torch": str(torch.__version__),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    filled = dataclasses.replace(
        card,
        null_label=null_label(config),
        classes=tuple(meta["classes"]) if config.unet.num_class_embeds else (),
        data=card.data or config.data,
        trained={**trained, **card.trained},
    )
    save_checkpoint(out, model, config.process, filled)


def run_command(args: argparse.Namespace) -> int:
    """Run a parsed command; a user's error is one line on standard error and exit status 2."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        args.run(args)
    except USER_ERRORS as error:
        print(f"ddpm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ddpm: interrupted", file=sys.stderr)
        return 130
    return 0
