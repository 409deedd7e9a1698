"""How good few steps are: the Fréchet distance against steps, for every sampler and spacing.

    pip install -e '.[train,openvino]'
    python -m benchmarks.few_steps mnist-linear --out reports/few-steps/mnist-linear

Each line of the table, a sampler with a spacing, is one run of `ddpm evaluate`, in a folder of its
own: stopped, the same command goes on where it was, and lines that are finished are only read. It
prints the table as Markdown and writes it as table.md, with a plot, few-steps.png. With all lines,
10,000 samples take days on two cores; `--lines` and `--samples` choose what is worth them.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from benchmarks.tables import markdown
from diffusion.evaluation.plots import by_steps
from diffusion.spacing import SpacingName

STEPS = (4, 5, 6, 8, 10, 15, 20)
SAMPLERS = ("ddim", "dpmpp", "unipc", "ipndm")
LINES = (*(f"{name}/{spacing}" for name in SAMPLERS for spacing in get_args(SpacingName)),)
REFERENCE = "ddim/even"
REFERENCE_STEPS = 50
"""The chain that few steps are compared with: DDIM's usual one."""


class Line(NamedTuple):
    """A sampler with a spacing."""

    sampler: str
    spacing: str

    @classmethod
    def parse(cls, text: str) -> "Line":
        """Read `unipc/karras`. Raises ArgumentTypeError for what is none of LINES."""
        if text not in LINES:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(LINES)}")
        return cls(*text.split("/"))

    def __str__(self) -> str:
        return f"{self.sampler}/{self.spacing}"

    def at(self, steps: int, guidance: float) -> str:
        """Write it as `ddpm evaluate` does, with so many steps."""
        spacing = "" if self.spacing == "even" else f"/{self.spacing}"
        return f"{self.sampler}:{steps}{spacing}" + (f"@{guidance:g}" if guidance else "")


def steps_of(line: Line, steps: Sequence[int]) -> list[int]:
    """The numbers of steps that a line is measured with: the reference also with its usual one."""
    return sorted({*steps, REFERENCE_STEPS} if str(line) == REFERENCE else steps)


def evaluate(line: Line, args: argparse.Namespace) -> dict[str, Any]:
    """Measure a line, or read what was measured: the report of `ddpm evaluate`.

    Where that command fails, its message is on standard error, and this ends with its status.
    """
    folder = args.out / str(line).replace("/", "-")
    if not (folder / "report.json").exists():
        samplers = [line.at(steps, args.guidance) for steps in steps_of(line, args.steps)]
        given = {
            "--data": args.data,
            "--classifier": args.classifier,
            "--precision": args.precision,
        }
        optional = [word for flag, value in given.items() if value for word in (flag, str(value))]
        ended = subprocess.run(
            [sys.executable, "-m", "diffusion", "evaluate", args.checkpoint, "--out", str(folder),
             "--images", "8", "--terms", "2", "--samples", str(args.samples),
             "--features", "classifier", *optional, "--sampler", *samplers],
        )  # fmt: skip
        if ended.returncode:
            sys.exit(ended.returncode)
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def table(reports: Iterable[tuple[Line, dict[str, Any]]], steps: Sequence[int]) -> str:
    """The distances as a Markdown table, a row for each line, a column for each number of steps."""
    header = ["sampler", "spacing", *map(str, steps)]
    rows = []
    for line, report in reports:
        found = {_steps(row["sampler"]): row["frechet"] for row in report["samplers"]}
        rows.append([line.sampler, line.spacing, *(found.get(count) for count in steps)])
    return markdown(header, rows)


def _steps(sampler: str) -> int:
    """The number of steps of a sampler as `ddpm evaluate` writes it."""
    return int(sampler.partition(":")[2].partition("/")[0].partition("@")[0])


def main() -> None:
    """Measure what the flags ask for."""
    args = _flags().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    reports = [(line, evaluate(line, args)) for line in args.lines]
    columns = sorted({count for line in args.lines for count in steps_of(line, args.steps)})
    text = table(reports, columns)
    (args.out / "table.md").write_text(text + "\n")
    rows = [row for _, report in reports for row in report["samplers"]]
    by_steps({"samplers": rows, "floor": reports[0][1]["floor"]}).savefig(
        args.out / "few-steps.png", dpi=120
    )
    print(text)
    machine, floor = reports[0][1]["machine"], reports[0][1]["floor"]["frechet"]
    print(f"\n{args.samples} samples each; real images {floor:.3f}; {machine}")


def _flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkpoint", help="checkpoint's folder, or the name of a built-in model")
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder of the reports")
    add("--lines", type=Line.parse, nargs="+", default=list(map(Line.parse, LINES)),
        metavar="SAMPLER/SPACING", help="lines of the table (default: all)")  # fmt: skip
    add("--steps", type=int, nargs="+", default=list(STEPS), metavar="COUNT",
        help=f"columns, and {REFERENCE_STEPS} for {REFERENCE} (default: %(default)s)")  # fmt: skip
    add("--samples", type=int, default=10_000, metavar="COUNT",
        help="samples of each cell (default: %(default)s)")  # fmt: skip
    add("--guidance", type=float, default=0.0, metavar="W",
        help="strength of guidance (default: %(default)s)")  # fmt: skip
    add("--precision", choices=["auto", "float32", "bfloat16"],
        help="as `ddpm evaluate` takes it (default: auto)")  # fmt: skip
    add("--data", metavar="NAME|PATH", help="data set (default: what the model was trained on)")
    add("--classifier", type=Path, metavar="FOLDER",
        help="classifier whose features are compared (default: as `ddpm evaluate`)")  # fmt: skip
    return parser


if __name__ == "__main__":
    main()
