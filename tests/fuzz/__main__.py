"""`make fuzz`: read damaged and hostile inputs, and say what they broke.

    python -m tests.fuzz [--inputs 100000] [--seed 0] [TARGET …]

Targets are checkpoint, config, data and wire; some have parts, such as "data npz", which share the
number of inputs. The status is 1 where an input was neither read nor refused with the documented
error, or took too much time or memory. Such inputs are written to build/fuzz/; put one of each kind
into tests/fuzz/corpus/, where the tests read them again each time.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.child import Fault, input_of
from tests.fuzz.parent import ROOT, Report, fuzz
from tests.fuzz.targets import Target, targets

FOUND = ROOT / "build" / "fuzz"
SHARES = {"data picture": 0.6} | dict.fromkeys(
    ("data npz", "data zip", "data idx", "data parquet"), 0.1
)
"""Of the inputs of the target data: pictures are what most of them hold. Others share evenly."""


def keep(target: Target, name: str, seed: int, fault: Fault) -> Path:
    """Write the input of a fault to a file."""
    path = FOUND / name.replace(" ", "-") / f"{seed}-{fault.input}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(input_of(target, name, seed, int(fault.input)))
    return path


def show(report: Report, target: Target, seed: int) -> None:
    """Print a report: a line, and one for each kind of fault."""
    tally = report.tally
    number = tally.read + tally.refused + tally.faults
    print(
        f"{report.target:22}{number:>9,} inputs: {tally.read:>7,} read, {tally.refused:>7,} refused"
        f", {tally.faults:>5,} faults of {len(report.kinds)} kinds, {report.seconds:.0f} s",
        flush=True,
    )
    for fault in report.kinds.values():
        print(f"    {fault.where}: {fault.error}")
        print(f"        {keep(target, report.target, seed, fault)}", flush=True)


def main() -> None:
    """Fuzz the targets that the command line names; all, if it names none."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--inputs", type=int, default=100_000, help="of each target")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other inputs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ddpm-fuzz-") as folder:
        known = targets(Path(folder))
        wanted = args.targets or sorted({name.split()[0] for name in known})
        names = [name for name in known if name in wanted or name.split()[0] in wanted]
        unknown = set(wanted) - set(known) - {name.split()[0] for name in known}
        if unknown:
            parser.error(f"{min(unknown)!r} is not a target; they are {', '.join(known)}")
        failed = False
        for name in names:
            parts = [other for other in known if other.split()[0] == name.split()[0]]
            number = round(args.inputs * SHARES.get(name, 1 / len(parts)))
            report = fuzz(name, number, args.seed)
            show(report, known[name], args.seed)
            failed = failed or bool(report.faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
