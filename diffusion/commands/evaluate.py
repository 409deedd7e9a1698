"""`ddpm evaluate`: a report on a model's bound and samples."""

import argparse
from pathlib import Path

from diffusion.data import datasets
from diffusion.data.images import DataError, Images
from diffusion.evaluation import evaluate, features
from diffusion.evaluation.cache import Parts
from diffusion.evaluation.classifier import Classifier, load_classifier, save_classifier, train
from diffusion.evaluation.plan import Evaluation, Sampler, Settings
from diffusion.evaluation.report import check_plots, write
from diffusion.folders import MODELS
from diffusion.sampling import Source

CLASSIFIER_EPOCHS = 5
"""Passes over the data of a classifier that is trained because none is at hand."""


def run(args: argparse.Namespace) -> None:
    """Evaluate as the flags ask, and write the report.

    Raises CheckpointError, DataError, DeviceError, EvaluationError, FeaturesError, ReportError or
    RequestError.
    """
    check_plots()
    source = Source.open(args.checkpoint, args.device, args.runtime)
    data = args.data or source.checkpoint.card.data
    if data is None:
        raise DataError(f"data: the model card of {args.checkpoint} names none; give --data")
    T = source.process.num_timesteps
    settings = Settings(
        num_images=args.images,
        num_samples=args.samples,
        samplers=tuple(Sampler.parse(text, T) for text in args.sampler),
        seed=args.seed,
        batch_size=args.batch_size,
        num_terms=args.terms,
    )
    train_images, test_images = (datasets.load(data, split) for split in ("train", "test"))
    args.out.mkdir(parents=True, exist_ok=True)
    classifier = _find_classifier(args.classifier, Path(data).name, train_images, args.out)
    extract = features.pick(args.features, classifier)
    key = {
        "sha256": source.checkpoint.sha256,
        "data": data,
        **settings.key(),
        "features": extract.name,
        "runtime": source.runtime,
    }
    parts = Parts(args.out, key)
    measured = evaluate.run(
        Evaluation(source, train_images, test_images, classifier, extract, settings, parts)
    )
    flags = f"{settings.flags()} --features {args.features}"
    report = {"command": f"ddpm evaluate {args.checkpoint} {flags}", **measured}
    print(f"report written to {write(report, args.out)}")


def _find_classifier(given: Path | None, data: str, images: Images, out: Path) -> Classifier:
    """The classifier given; else the built-in one for that data; else one trained on it, which is
    kept in `out`."""
    built_in, trained = MODELS / f"{data}-classifier", out / "classifier"
    if given is None and not built_in.is_dir() and not trained.is_dir():
        save_classifier(train(images, CLASSIFIER_EPOCHS), trained, {"data": data})
    return load_classifier(given or (built_in if built_in.is_dir() else trained))
