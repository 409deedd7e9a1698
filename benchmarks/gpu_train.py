"""Ten minutes on a GPU: the next stage of an included model's training, to be carried on elsewhere.

    python -m benchmarks.gpu_train                      # or make gpu-train
    python -m benchmarks.gpu_train --plan               # the stages, and how long they take
    python -m benchmarks.gpu_train --model cifar10 --data cifar10.zip --minutes 8
    python -m benchmarks.gpu_train --tiny               # tries all of it on a CPU, in two minutes

It trains one stage of configs/gpu/stages.toml with `ddpm train`, stops by itself before the minutes
are over, and leaves what the next machine needs in OUT/carry: at most 8 files of 16 MiB with
checksums. Copied to the same place there, the same command goes on. A stage that ends leaves its
model and the report of `ddpm evaluate`, or the command for it where no time is left.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks import gpu_stages, gpu_tiny
from benchmarks.carried import CarriedError, pack, read_headers, unpack
from benchmarks.gpu_session import end_group
from benchmarks.gpu_stages import Place, Stage
from diffusion.checkpoint import open_checkpoint, save_checkpoint
from diffusion.fields import ConfigError, require
from diffusion.folders import MODELS
from diffusion.training import states
from diffusion.training.errors import TrainingError

MINUTES, LEAST_MINUTES = 9.5, 2.0
"""What a session takes by default, and at least: compiling the network alone takes one."""
CLOSING_SECONDS = 30.0
"""To end a step, save the state and pack it."""
LEAST_SECONDS = 20.0
"""An evaluation is not begun with less: PyTorch alone takes several."""
STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGINT)
"""How `ddpm train` ends when it is asked to."""


@dataclass(frozen=True)
class Session:
    """What is trained where, and until when (time.monotonic)."""

    plan: Sequence[Stage]
    out: Path
    device: str
    ends: float
    data: str | None = None
    until: int | None = None  # a step at which to stop, to try that

    def run(self, stage: Stage) -> int:
        """Train a stage as far as the time reaches, and pack what is to be carried.

        Returns the exit status of the command: 1 where training failed.
        """
        place = Place(self.out, stage.name)
        last = self.ends - CLOSING_SECONDS
        status = limited(self._training(stage, place), last, CLOSING_SECONDS / 2)
        if (place.run / "model" / "model_index.json").is_file():
            self._finish(stage, place)
            parts = self._pack(place)
        elif place.step:
            parts = self._pack(place)
            say(f"{stage.name} has come to step {place.step:,}")
        else:
            say(f"{stage.name}: no state was saved")
            return 1
        size = sum(path.stat().st_size for path in parts)
        say(f"to carry: {len(parts)} files, {size / 1e6:.0f} MB, in {place.carry}")
        return 0 if status in (None, 0, *STOPPED) else 1

    def _training(self, stage: Stage, place: Place) -> list[str]:
        """The command that begins a stage, or goes on with it."""
        command = [
            *ddpm("train"), str(stage.config), "--out", str(place.run), "--name", stage.model,
            "--device", self.device, "--no-samples",
        ]  # fmt: skip
        earlier = gpu_stages.before(self.plan, stage)
        if earlier and not place.step:  # a run remembers its start
            command += ["--start", str(self._model_of(earlier))]
        if self.data:
            command += ["--data", self.data]
        if self.until:
            command += ["--until", str(self.until)]
        return command

    def _model_of(self, stage: Stage) -> Path:
        """The model that a stage has made."""
        place = Place(self.out, stage.name)
        return place.model if place.is_done else MODELS / stage.model

    def _finish(self, stage: Stage, place: Place) -> None:
        """Write the model of a stage that has ended, pack it, and measure it."""
        made = open_checkpoint(place.run / "model")
        save_checkpoint(place.model, made.load(), made.process, made.card, stage.weights)
        self._pack(place)  # should the evaluation be cut
        say(f"{stage.name} has ended; its model is {place.model}. It is to reach: {stage.goal}")
        self._evaluate(stage, place)
        report = place.report / "report.json"
        if stage == [each for each in self.plan if each.model == stage.model][-1]:
            measured = f" --report {report}" if report.exists() else ""
            say(f"to include it: ddpm export {place.model} models/{stage.model} --force{measured}")

    def _evaluate(self, stage: Stage, place: Place) -> None:
        """Measure the stage's model in the time that is left, or say by which command."""
        data = ["--data", self.data] if self.data else []
        command = [
            *ddpm("evaluate"), str(place.model), "--out", str(place.report),
            "--device", self.device, *data, *stage.evaluate_flags,
        ]  # fmt: skip
        last = self.ends - LEAST_SECONDS / 2
        has_time = last - time.monotonic() > LEAST_SECONDS
        if has_time and limited(command, last, LEAST_SECONDS / 4) == 0:
            return
        say(f"not measured yet; this does it, and goes on where it was:\n  {shown(command)}")

    @staticmethod
    def _pack(place: Place) -> list[Path]:
        """Write the parts of a stage: of its model and report, or else of its last state."""
        if place.is_done:
            files = {
                path.relative_to(place.work).as_posix(): path
                for folder in (place.model, place.report)
                for path in folder.rglob("*")
                if path.is_file() and (folder == place.model or path.suffix in (".json", ".html"))
            }
            return pack(files, place.carry, step=last_step(place))
        return pack(state_files(place), place.carry, place.step)


def state_files(place: Place) -> dict[str, Path]:
    """The files of a run's last state and its log; Adam's moments are rounded to bfloat16."""
    state = states.saved_states(place.run)[-1]
    files = {path.relative_to(place.work).as_posix(): path for path in state.iterdir()}
    log = place.run / "log.jsonl"
    if log.exists():
        files[log.relative_to(place.work).as_posix()] = log
    moments = load_file(state / "optimizer.safetensors")
    rounded = {name: t.bfloat16() if t.dim() else t for name, t in moments.items()}
    short = place.work / "optimizer-bfloat16.safetensors"
    save_file(rounded, short)
    files[(state / "optimizer.safetensors").relative_to(place.work).as_posix()] = short
    return files


def last_step(place: Place) -> int:
    """The steps that a finished stage took, by its model's card."""
    return int(open_checkpoint(place.model).card.trained["steps"])


def restore(plan: Sequence[Stage], out: Path) -> None:
    """Unpack what was carried here of each stage, unless the stage is here as far already.

    Raises CarriedError where parts are missing or damaged.
    """
    for stage in plan:
        place = Place(out, stage.name)
        if not place.carry.is_dir():
            continue
        step = read_headers(place.carry)[0].step
        if place.is_done or place.step >= step:
            continue
        unpack(place.carry, place.work)
        say(f"{stage.name}: step {step:,} was carried here")


def limited(command: Sequence[str], ends: float, patience: float) -> int | None:
    """Run a command until `ends` (time.monotonic) or Ctrl-C, and then ask it to end.

    Returns its exit status; None where it did not end in `patience` seconds and was killed.
    """
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait(max(ends - time.monotonic(), 0.1))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.terminate()
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            return None
    finally:
        end_group(process)


def ddpm(command: str) -> list[str]:
    """The beginning of a command line of `ddpm`, in this environment."""
    return [sys.executable, "-m", "diffusion", command]


def shown(command: Sequence[str]) -> str:
    """A command line of `ddpm` as a user would type it."""
    return " ".join(["ddpm", *command[3:]])


def say(text: str) -> None:
    """Print a line at once, between those of the commands."""
    print(text, flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_train", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--model", choices=("mnist", "cifar10", "emoji"),
        help="train this one (default: the first that is unfinished)")  # fmt: skip
    add("--minutes", type=float, default=MINUTES, help="time for all of it (%(default)s)")
    add("--out", type=Path, default=Path("gpu-train"), help="folder of the work (%(default)s)")
    add("--data", metavar="NAME|PATH", help="the images (default: the configuration's)")
    add("--plan", action="store_true", help="print the plan, and do nothing")
    add("--tiny", action="store_true", help="try it all on a CPU, with tiny networks")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status: 1 where training failed, 2 for what
    can be mended first."""
    args = parse(argv)
    ends = time.monotonic() + 60 * args.minutes
    try:
        least = f"{LEAST_MINUTES:g} or more: PyTorch compiles the network first"
        require(args.minutes >= LEAST_MINUTES, "--minutes", args.minutes, least)
        plan = gpu_stages.read_plan()
        if args.plan:
            say(gpu_stages.table(plan))
            return 0
        if args.tiny:
            return try_all(plan, args.model or "mnist", args.out / "tiny")
        if not torch.cuda.is_available():
            raise TrainingError("no GPU: PyTorch finds none here; --tiny tries it on a CPU")
        restore(plan, args.out)
        stage = gpu_stages.next_stage(plan, args.out, args.model)
        if stage is None:
            say("all stages have ended")
            return 0
        return Session(plan, args.out, "cuda", ends, args.data).run(stage)
    except (CarriedError, ConfigError, TrainingError, OSError) as error:
        print(f"gpu_train: {error}", file=sys.stderr)
        return 2


def try_all(plan: Sequence[Stage], model: str, out: Path) -> int:
    """Train all stages of a model with a tiny network, in a new folder: the first is stopped on the
    way, and goes on from what was carried, as on another machine."""
    shutil.rmtree(out, ignore_errors=True)
    plan = gpu_tiny.shrink([stage for stage in plan if stage.model == model], out)
    until: int | None = gpu_tiny.STEPS // 2
    while stage := gpu_stages.next_stage(plan, out):
        say(f"== {stage.name}")
        ends = time.monotonic() + 60 * MINUTES
        data = str(gpu_tiny.images(stage.read_config(), out))
        status = Session(plan, out, "cpu", ends, data, until).run(stage)
        if status:
            return status
        if until:
            shutil.rmtree(Place(out, stage.name).work)  # all but what is carried
            restore(plan, out)
        until = None
    return 0


if __name__ == "__main__":
    sys.exit(main())
