"""A soak test: one long night with everything at once.

    pip install -e '.[openvino,postgres,benchmarks]'
    python -m benchmarks.soak --minutes 60 --out soak.json

A server that nothing disturbs answers a pool of requests. Another one then gets them at random from
many clients with several keys, with jobs, streams, webhooks, clients that leave and clients that
read slowly, while engines and the server itself are killed (a supervisor starts it again),
PostgreSQL is restarted, and the disk with the results is full for a minute. All of these troubles
are in the first 60% of the time.

Every answer and every result is compared with the known bytes. What a kill of ours has cut, and
what the server refuses with 429, 503 or 507, is asked again. At the end nothing may be lost, wrong
or left over, and the API process may never have held more than 300 MiB. The report is written every
minute, with the problems so far. The exit status is 1 when something was not as it should be.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.servers import ours
from benchmarks.soak.night import LOG, night, places
from benchmarks.soak.plan import Plan
from benchmarks.soak.report import Report


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--minutes", type=float, default=60.0, help="length of the soak (%(default)s)")
    add("--clients", type=int, default=Plan.clients, help="clients at once (%(default)s)")
    add("--job-clients", type=int, default=Plan.job_clients,
        help="clients that make jobs, at once (%(default)s)")  # fmt: skip
    add("--readers", type=int, default=Plan.readers, help="slow readers at once (%(default)s)")
    add("--seed", type=int, default=0, help="seed of everything random (%(default)s)")
    add("--checkpoint", default="mnist", help="folder or name of the model (%(default)s)")
    add("--runtime", default="auto", help="runtime of the server (%(default)s)")
    add("--jobs-url", metavar="URL",
        help="the jobs' database, which is then left alone, or sqlite; by default a PostgreSQL of "
        "the soak's own, where it is installed, else SQLite")  # fmt: skip
    add("--out", type=Path, help="write the report to this JSON file")
    add("--log", type=Path, help="keep the server's log in this file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status."""
    args = parse(argv)
    plan = Plan(
        args.minutes * 60, clients=args.clients, job_clients=args.job_clients,
        readers=args.readers, seed=args.seed,
    )  # fmt: skip

    def save(report: Report) -> None:
        if args.out:
            report.save(args.out)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything started is ended
    with tempfile.TemporaryDirectory(prefix="ddpm-soak-") as name:
        folder = Path(name)
        with places(folder, args.jobs_url) as where:
            kind = ours(args.checkpoint, f"--runtime={args.runtime}")
            try:
                report = asyncio.run(night(kind, plan, where, save))
            except KeyboardInterrupt:
                print("the soak was cut: `--out` has what it saw until then", file=sys.stderr)
                return 1
            finally:
                if args.log and (folder / LOG).exists():
                    shutil.copyfile(folder / LOG, args.log)
    save(report)
    print(report.table())
    if report.faults:
        print(*report.problems, "faults:", *report.faults, sep="\n", file=sys.stderr)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
