"""The tests that need a GPU, and those of faults that can run on one."""

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.gpu.step import Step, main

PLACES = (
    "tests/app/engine",
    "tests/app/service/test_gpu.py",
    ("tests/app/service/test_faults_under_load.py"),
)
TINY = ("tests/benchmarks/test_tables.py",)
"""Stands in for them where the session itself is tried."""


def run(step: Step) -> None:
    """Run them, and write how many passed, and the names of those that did not."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            f"--device={step.device.type}",
            f"--junitxml={report}",
            *(TINY if step.tiny else ("-m", "gpu", *PLACES)),
        ]
        ended = subprocess.run(command, timeout=step.left, check=False)
        if not report.exists():
            raise RuntimeError(f"pytest ended with status {ended.returncode}, without a report")
        cases = list(ElementTree.parse(report).iter("testcase"))
    by = {
        kind: [c.get("name") for c in cases if c.find(kind) is not None]
        for kind in ("failure", "error", "skipped")
    }
    bad = by["failure"] + by["error"]
    step.write(
        "tests",
        {
            "passed": len(cases) - len(bad) - len(by["skipped"]),
            "failed": bad,
            "skipped": len(by["skipped"]),
        },
    )


if __name__ == "__main__":
    main("suite", run)
