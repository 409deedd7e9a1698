"""The tables of a GPU session, from its results.

    python -m benchmarks.gpu_report gpu-session/results.jsonl
    python -m benchmarks.gpu_report gpu-session/results.jsonl --into docs/performance.md

With --into, the tables are put into that page, between its two comments "gpu tables".
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.results import Result, Results
from benchmarks.gpu.targets import CASES, targets
from benchmarks.gpu.variants import PRECISION
from benchmarks.tables import Cell, markdown

BEGIN, END = "<!-- gpu tables: begin -->", "<!-- gpu tables: end -->"
Column = Callable[[Result, Results], Cell]
"""What a column says of a result, of all that there are."""


@dataclass(frozen=True)
class Table:
    """Results of one kind: a row for each value of the keys, the last that was measured."""

    title: str
    kind: str
    keys: tuple[str, ...]
    columns: Mapping[str, Column]

    def text(self, results: Results) -> str:
        """As markdown; empty where nothing was measured."""
        found = results.latest(self.kind, self.keys)
        rows = [[column(result, results) for column in self.columns.values()] for result in found]
        return f"### {self.title}\n\n{markdown(list(self.columns), rows)}" if rows else ""


def field(name: str, scale: float = 1.0) -> Column:
    """A column: a field of the result, times `scale` where that is not 1."""

    def value(result: Result, _: Results) -> Cell:
        found: Cell = result.get(name)
        return found * scale if isinstance(found, int | float) and scale != 1.0 else found

    return value


def yes(name: str) -> Column:
    """A column: a field that is true or false."""
    return lambda result, _: "yes" if result.get(name) else "no"


def of_peak(result: Result, results: Results) -> Cell:
    """A column: the share of the card's matrix peak in the same precision."""
    peak = results.peak(result.get("precision") or PRECISION[result.get("variant", "bf16")])
    return f"{result['flops_per_second'] / peak:.0%}" if peak else None


RATE = {"image-steps/s": field("image_steps_per_second")}
FLOPS = {"TFLOP/s": field("flops_per_second", 1e-12), "of peak": of_peak}
LATENCY = {
    f"{when} {percent} ms": field(f"{when}_{percent}", 1000)
    for when in ("alone", "beside") for percent in ("p50", "p95")
}  # fmt: skip
RAN = {name: field(name) for name in CASES}
TABLES = (
    Table("Facts of the card", "machine", (), {
        "GPU": field("gpu"), "processor": field("cpu"), "cores": field("cores"),
        "torch": field("torch"), "CUDA": field("cuda"), "C compiler": yes("gcc"),
    }),
    Table("Matrix peak", "peak", ("precision",), {
        "precision": field("precision"), "TFLOP/s": field("flops", 1e-12),
    }),
    Table("Copies", "copy", (), {"GB/s, read and written": field("bytes_per_second", 1e-9)}),
    Table("Launches", "launch", (), {"µs a launch": field("seconds", 1e6)}),
    Table("Graphs of kernels that do nothing", "graph", ("kernels",), {
        "kernels": field("kernels"), "µs": field("seconds", 1e6),
    }),
    Table("The network alone", "network", ("network", "variant", "size"), {
        "network": field("network"), "variant": field("variant"), "B": field("size"),
        "ms": field("seconds", 1000), "rows/s": lambda r, _: r["size"] / r["seconds"], **FLOPS,
        "rms error": field("rms"),
    }),
    Table("The network, compiled", "compiled", ("network", "size"), {
        "network": field("network"), "B": field("size"),
        "s to compile": field("compile_seconds"), "ms": field("seconds", 1000), **FLOPS,
    }),
    Table("The engine", "engine", (*CASES, "chains"), {
        **RAN, "chains": field("chains"), "steps": field("steps"), "s": field("seconds"),
        **RATE, **FLOPS,
    }),
    Table("The engine and a bare loop", "bare", (*CASES, "steps"), {
        **RAN, "B": field("size"), "its image-steps/s": field("image_steps_per_second"),
        "steps of the engine's images": field("steps"), "its share, %": field("share", 100),
    }),
    Table("Long chains", "long", CASES, {
        **RAN, "images": field("images"), "steps": field("steps"), "s": field("seconds"),
        "measured, not predicted": yes("measured"),
    }),
    Table("One image beside many, without HTTP", "joiner", CASES, {
        **RAN, "images beside": field("large"), **LATENCY,
    }),
    Table("Over HTTP", "http", ("images",), {
        "clients": field("clients"), "images a request": field("images"),
        "images/s": field("images_per_second"), **RATE, "p50 s": field("p50"),
        "p95 s": field("p95"), "errors": field("errors"),
    }),
    Table("One image beside many, over HTTP", "http-beside", (), {
        "images beside": field("large"), **LATENCY, "errors": field("errors"),
    }),
    Table("diffusers' DDIMPipeline", "peer", ("contender", "size"), {
        "": field("contender"), "network": field("network"), "B": field("size"), **RATE,
        "s for 50 steps": field("chain_seconds"), **FLOPS,
    }),
    Table("Bytes of the device against the CPU's", "bytes", ("what",), {
        "what": field("what"), "numbers": field("numbers"), "equal": yes("equal"),
        "first difference": field("first"),
    }),
    Table("The same bytes in every batch size",  "invariance",
          ("network", "variant", "size", "place", "settings"), {
        "network": field("network"), "variant": field("variant"), "B": field("size"),
        "first row": field("place"), "equal": yes("equal"), "layers": field("layers"),
        "first layer that differs": field("first"),
        "CUBLAS_WORKSPACE_CONFIG": lambda r, _: r["settings"]["CUBLAS_WORKSPACE_CONFIG"],
    }),
    Table("Kernels of a step", "kernel", ("name",), {
        "kernel": lambda r, _: r["name"][:60].replace("|", " "), "calls": field("calls"),
        "% of the time": field("share", 100),
    }),
    Table("Memory", "memory", (), {
        "network": field("network"), "B": field("size"),
        "peak MiB": field("peak_bytes", 2**-20),
    }),
    Table("Tests", "tests", (), {
        "passed": field("passed"), "skipped": field("skipped"),
        "failed": lambda r, _: ", ".join(r["failed"]) or "none",
    }),
    Table("What could not be measured", "failed", ("step", "what"), {
        "step": field("step"), "what": field("what"), "reason": field("reason"),
    }),
    Table("Steps of the session", "step", ("step",), {
        "step": field("step"), "went": field("status"), "s": field("seconds"),
    }),
)  # fmt: skip


def report(results: Results) -> str:
    """All tables as markdown; those without a result are left out."""
    texts = [table.text(results) for table in TABLES]
    return "\n\n".join([targets(results), *filter(None, texts)])


def put_into(page: Path, text: str) -> None:
    """Put the tables between the page's comments. Raises ValueError where it has none."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: it must have the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_report", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("results", type=Path, help="results.jsonl of a session")
    parser.add_argument("--into", type=Path, help="page of documentation to put the tables into")
    args = parser.parse_args(argv)
    text = report(Results.read(args.results))
    if args.into is None:
        print(text)
        return 0
    try:
        put_into(args.into, text)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
