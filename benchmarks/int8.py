"""8-bit integers, measured: how fast the network is in them, and what it loses.

    pip install -e '.[openvino,train]' nncf
    python -m benchmarks.int8                       # milliseconds of models/cifar10 and the paper's
    python -m benchmarks.int8 --quality cifar10 --data cifar10-jpeg.zip --out reports/int8

NNCF rounds what convolutions multiply to 8 bits: weights channel by channel, activations layer by
layer, in the ranges that DDIM's chains pass through over all t. The first two convolutions, the
last one, the time embedding, attention, norms and sums stay as they are in bfloat16, and the
network runs as it does otherwise.

Without --quality it prints what a call takes in float32, bfloat16 and with 8 bits, which take turns
in rounds. With it, it prints of 8 bits what `ddpm evaluate --precisions` does of bfloat16: the
Fréchet distances of samples of the same seed, and the bound of the same images with the same draws.
"""

import argparse
import dataclasses
import importlib.util
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.machine import CLOCKS, Clock, machine
from benchmarks.networks import NETWORKS
from benchmarks.quantised import in_int8
from benchmarks.tables import Cell, markdown
from diffusion.checkpoint import Checkpoint
from diffusion.commands.evaluate import data_of
from diffusion.config import Precision
from diffusion.cores import available_cores
from diffusion.data import datasets
from diffusion.evaluation import evaluate, features
from diffusion.evaluation.cache import Parts
from diffusion.evaluation.draws import real_images, sample_labels
from diffusion.evaluation.judge import find_judge
from diffusion.evaluation.plan import Evaluation, Sampler, Settings
from diffusion.openvino.model import CompiledModel, examples
from diffusion.sampling import Source

FORMS = ("float32", "bfloat16", "int8")
HEADER = ("network", "B", *(f"{form}, ms" for form in FORMS), "bfloat16 / int8")
Milliseconds = Mapping[str, Sequence[float]]
"""Of a call in each form, round by round."""


def compiled(checkpoint: Checkpoint, form: str, threads: int) -> CompiledModel:
    """Compile a checkpoint's network in one of FORMS, without a cache.

    Raises RuntimeError where the processor, or what the network computes, does not allow it.
    """
    precision: Precision = "float32" if form == "float32" else "bfloat16"
    convert = in_int8(checkpoint) if form == "int8" else None
    made = CompiledModel(checkpoint.eps_model(), threads, precision, cache="", convert=convert)
    if made.precision != precision:
        raise RuntimeError(f"the network is not computed in {form} here")
    return made


def speeds(
    checkpoint: Checkpoint, sizes: Sequence[int], rounds: int, seconds: float, threads: int,
    clock: Clock,
) -> dict[int, Milliseconds]:  # fmt: skip
    """Time a call of each form, by batch size; in each round every form has a turn of about so many
    seconds."""
    forms = {form: compiled(checkpoint, form, threads) for form in FORMS}
    found: dict[int, Milliseconds] = {}
    for size in sizes:
        inputs = examples(checkpoint.eps_model(), size)
        taken: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(rounds + 1):
            for form, network in forms.items():
                started, calls = clock(), 0
                while not calls or clock() - started < seconds:
                    network(*inputs)
                    calls += 1
                taken[form].append(1e3 * (clock() - started) / calls)
        found[size] = {form: times[1:] for form, times in taken.items()}  # the first compiled
    return found


def table(found: Mapping[str, Mapping[int, Milliseconds]]) -> str:
    """The medians, and the median of the rounds' ratios, as Markdown."""
    rows: list[list[Cell]] = []
    for network, by_size in found.items():
        for size, taken in by_size.items():
            pairs = zip(taken["bfloat16"], taken["int8"], strict=True)
            medians = [statistics.median(taken[form]) for form in FORMS]
            rows.append([network, size, *medians, statistics.median(a / b for a, b in pairs)])
    return markdown(HEADER, rows)


def lost(args: argparse.Namespace) -> dict[str, Any]:
    """Measure what 8 bits lose of a checkpoint's quality, by the rules for bfloat16."""
    source = Source.open(args.quality, "cpu", "openvino", "float32")
    checkpoint, data = source.checkpoint, args.data
    network = compiled(checkpoint, "int8", torch.get_num_threads())
    in_place_of_half = dataclasses.replace(source, model=network, precision="bfloat16")
    sampler = Sampler.parse(args.sampler, source.process.num_timesteps)
    settings = Settings(
        args.images, args.samples, (sampler,), batch_size=100, num_terms=args.terms,
        num_train_images=8,
    )  # fmt: skip
    config = data_of(checkpoint, data, args.quality)
    train, test = (datasets.load(config, split) for split in ("train", "test"))
    labels = sample_labels(args.samples, len(checkpoint.classes), "balanced", train.labels)
    real = real_images(train, args.samples if labels is None else labels, settings.seed)
    judge = find_judge(args.classifier, config.path, train, test, args.out)
    extract = features.pick("auto", None if judge is None else judge.classifier, train.pixels[:500])
    parts = Parts(args.out, {"sha256": checkpoint.sha256, **settings.key()})
    evaluation = Evaluation(
        source, train, test, labels, real, judge, extract, settings, parts, in_place_of_half
    )
    found: dict[str, Any] = evaluate.run(evaluation)["precisions"]["bfloat16"]
    return {name.replace("bfloat16", "int8"): value for name, value in found.items()}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.int8", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument_group("speed").add_argument
    add("--networks", nargs="+", choices=list(NETWORKS), default=["cifar10", "paper"],
        help="networks (default: cifar10, and the paper's with random weights)")  # fmt: skip
    add("--sizes", nargs="+", type=int, default=[1, 8, 16], help="batch sizes (%(default)s)")
    add("--rounds", type=int, default=5, help="turns of each form (%(default)s)")
    add("--seconds", type=float, default=0.3, help="length of a turn, about (%(default)s)")
    add("--threads", type=int, help="threads of the network (as many as processors)")
    add("--clock", choices=list(CLOCKS), default="wall",
        help="seconds on the wall, or the processor's, for one thread (%(default)s)")  # fmt: skip
    add = parser.add_argument_group("quality").add_argument
    add("--quality", metavar="CHECKPOINT", help="measure what this checkpoint loses, not the speed")
    add("--data", metavar="NAME|PATH", help="data set (default: what it was trained on)")
    add("--out", type=Path, default=Path("reports/int8"), metavar="FOLDER",
        help="folder of what is finished (%(default)s)")  # fmt: skip
    add("--classifier", type=Path, metavar="FOLDER", help="as `ddpm evaluate`")
    add("--sampler", default="dpmpp:5", help="as `ddpm evaluate` (%(default)s)")
    add("--samples", type=int, default=1000, help="samples of each form (%(default)s)")
    add("--images", type=int, default=200, help="test images, for the bound (%(default)s)")
    add("--terms", type=int, default=20, help="terms of each one's bound (%(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status."""
    args = parse(argv)
    if importlib.util.find_spec("nncf") is None:
        print("nncf is not installed; pip install nncf", file=sys.stderr)
        return 2
    print(json.dumps(machine("cpu", ("torch", "openvino", "nncf"))))
    if args.quality:
        print(json.dumps(lost(args), indent=1))
        return 0
    found: dict[str, Mapping[int, Milliseconds]] = {}
    threads = args.threads or available_cores()
    with tempfile.TemporaryDirectory() as folder:
        for name in tqdm(args.networks, unit="network"):
            checkpoint = NETWORKS[name](Path(folder, name)).checkpoint
            clock = CLOCKS[args.clock]
            found[name] = speeds(checkpoint, args.sizes, args.rounds, args.seconds, threads, clock)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
