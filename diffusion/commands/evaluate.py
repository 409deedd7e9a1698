"""`ddpm evaluate`: a report on a model's bound and samples."""

import argparse
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusion.checkpoint import Checkpoint
from diffusion.config import DataConfig, PrecisionName
from diffusion.data import datasets
from diffusion.data.built_in import is_here
from diffusion.data.images import DataError, Images, NoSplitError
from diffusion.evaluation import evaluate, features
from diffusion.evaluation.cache import EvaluationError, Parts
from diffusion.evaluation.checks import check_data, check_folder, check_samplers, check_terms
from diffusion.evaluation.draws import choose, real_images, sample_labels
from diffusion.evaluation.judge import Judge, find_judge
from diffusion.evaluation.plan import OLDER_KEYS, Evaluation, Sampler, Settings
from diffusion.evaluation.plots import check_plots
from diffusion.evaluation.report import summary, write
from diffusion.fields import from_dict, to_dict
from diffusion.sampling import Source
from diffusion.tuned import tuned_list

log = logging.getLogger(__name__)
FITTED = 500
"""Training images that the features of an untrained network are scaled by."""


def run(args: argparse.Namespace) -> None:
    """Evaluate as the flags ask, and write the report.

    What cannot be done as asked is refused before the work. Raises CheckpointError, DataError,
    DeviceError, EvaluationError, FeaturesError, ReportError or RequestError.
    """
    check_plots()
    features.check(args.features)
    source = _open(args)
    checkpoint = source.checkpoint
    data = data_of(checkpoint, args.data, args.checkpoint)
    if args.data is None:
        _check_here(data.path, args.checkpoint)
    settings = _settings(args, source.process.num_timesteps)
    check_terms(checkpoint, settings.num_terms)
    check_samplers(checkpoint, settings.samplers)
    channels = checkpoint.unet.in_channels
    train, test = datasets.load(data, "train", channels=channels), _test_split(data, channels)
    check_data(checkpoint, train, test)
    labels = sample_labels(args.samples, len(checkpoint.classes), args.labels, train.labels)
    real = real_images(train, args.samples if labels is None else labels, args.seed)
    check_folder(args.out)
    half = _open_half(args, source) if args.precisions else None
    judge = find_judge(args.classifier, data.path, train, test, args.out)
    some = train.pixels[choose(len(train), FITTED, seed=0)]
    extract = features.pick(args.features, None if judge is None else judge.classifier, some)
    parts = _parts(args.out, source, data, settings, extract, judge)
    evaluation = Evaluation(
        source, train, test, labels, real, judge, extract, settings, parts, half
    )
    asked = command(args, settings, checkpoint.location.pinned or args.checkpoint)
    report = {"command": asked, **evaluate.run(evaluation)}
    for caveat in report["warnings"]:
        log.warning("%s", caveat)
    print(summary(report))
    print(f"report written to {write(report, args.out)}")


def _open(args: argparse.Namespace) -> Source:
    """The checkpoint in the precision asked for: float32, where both are to be compared."""
    if args.precisions and args.precision == "bfloat16":
        raise EvaluationError(
            "precision: 'bfloat16' is not allowed with --precisions, which compares it with float32"
        )
    precision: PrecisionName = "float32" if args.precisions else args.precision
    return Source.open(args.checkpoint, args.device, args.runtime, precision, args.cache)


def _open_half(args: argparse.Namespace, source: Source) -> Source:
    """The checkpoint in bfloat16, to compare with `source`."""
    half = Source.of(source.checkpoint, args.device, args.runtime, "bfloat16", args.cache)
    if half.precision != "bfloat16":
        raise EvaluationError(
            "precisions: this network in bfloat16 is too far from what it is in float32 to be used"
        )
    return half


def _settings(args: argparse.Namespace, num_timesteps: int) -> Settings:
    return Settings(
        num_images=args.images,
        num_samples=args.samples,
        samplers=tuple(Sampler.parse(text, num_timesteps) for text in args.sampler),
        seed=args.seed,
        batch_size=args.batch_size,
        num_terms=args.terms,
        num_train_images=args.train_images,
        num_full=args.full,
        labels=args.labels,
    )


def _parts(
    folder: Path,
    source: Source,
    data: DataConfig,
    settings: Settings,
    extract: features.Features,
    judge: Judge | None,
) -> Parts:
    """What an evaluation that was stopped has left of this one, with the same model and settings on
    the same data."""
    checkpoint = source.checkpoint
    key = {
        "sha256": checkpoint.sha256,
        "data": data.path if data == DataConfig(data.path) else to_dict(data),
        **settings.key(),
        "features": extract.name,
        "classifier": None if judge is None else judge.sha256,
        "runtime": source.runtime,
        "precision": source.precision,
        **tuned_key(checkpoint, settings.samplers),
    }
    older = {**OLDER_KEYS, "classifier": key["classifier"], "precision": "float32"}
    return Parts(folder, key, older)


def tuned_key(checkpoint: Checkpoint, samplers: Sequence[Sampler]) -> dict[str, Any]:
    """The lists of tuned samplers: what is measured with them is not what later ones give."""
    lists = {
        str(sampler): list(tuned_list(checkpoint.card.tuned, sampler.name, sampler.num_steps))
        for sampler in samplers
        if sampler.spacing == "tuned"
    }
    return {"tuned": lists} if lists else {}


def data_of(checkpoint: Checkpoint, path: str | None, name: str) -> DataConfig:
    """Return the data that a model was trained on, read in the same way: at `path`, or where its
    card says.

    `name` is what the user calls it. Raises DataError where neither names a place, and ConfigError
    for a card that is not ours.
    """
    card = checkpoint.card
    if path is None and card.data is None:
        raise DataError(f"data: the model card of {name} names none; give --data")
    return from_dict(DataConfig, {**card.trained.get("data", {}), "path": path or card.data})


def _check_here(path: str, name: str) -> None:
    """Raise DataError where the data that a card names are not here; `name` is the model's."""
    if not is_here(path):
        raise DataError(
            f"data: the model card of {name} names {path!r}, which is no built-in set, and not in "
            "this folder; give --data, the path to the images"
        )


def _test_split(data: DataConfig, channels: int) -> Images | None:
    try:
        return datasets.load(data, "test", channels=channels)
    except NoSplitError:
        return None


def command(args: argparse.Namespace, settings: Settings, checkpoint: str) -> str:
    """Write the command line that makes this report of a checkpoint again."""
    flags = [f"ddpm evaluate {shlex.quote(checkpoint)} {settings.flags()}"]
    flags.append(f"--features {args.features}")
    if args.precisions:
        flags.append("--precisions")
    if args.precision != "auto":
        flags.append(f"--precision {args.precision}")
    for name in ("data", "classifier", "out"):
        if getattr(args, name) is not None:
            flags.append(f"--{name} {shlex.quote(str(getattr(args, name)))}")
    return " ".join(flags)
