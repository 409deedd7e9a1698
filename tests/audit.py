"""`make audit`: what is weak in our code, what is known of dependencies, and a list of all parts.

    python -m tests.audit

Bandit reads our code. pip-audit asks a service for known weaknesses of what the image installs;
where it cannot be reached, that is said, and nothing fails. pip-licenses compares the licence of
everything that is installed here with the list in pyproject.toml. cyclonedx-py writes
build/sbom.json.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
REQUIREMENTS = "deploy/requirements-cuda.txt"
"""All that an image may install: the file without CUDA is a part of it."""
SBOM = "build/sbom.json"
OURS = ("app", "diffusion")
AUDIT_SECONDS = 300


def run(tool: str, *arguments: str) -> bool:
    """Run a tool in sight; did it find nothing?"""
    print(f"$ {tool} {' '.join(arguments)}", flush=True)
    return subprocess.run([BIN / tool, *arguments], cwd=ROOT).returncode == 0


def code_is_clean() -> bool:
    """Look for weaknesses in our code."""
    return run("bandit", "--quiet", "--configfile=pyproject.toml", "--recursive", *OURS)


def licences_are_allowed() -> bool:
    """Compare the licences of all that is installed with those that are allowed."""
    return run("pip-licenses", "--format=csv", "--output-file=build/licences.csv")


def parts_are_listed() -> bool:
    """Write the software bill of materials of what the image installs."""
    files = ("--pyproject=pyproject.toml", "--output-reproducible", f"--output-file={SBOM}")
    return run("cyclonedx-py", "requirements", *files, REQUIREMENTS)


def weaknesses_are_unknown() -> bool:
    """Ask the service for known weaknesses of the dependencies."""
    arguments = ("--requirement", REQUIREMENTS, "--disable-pip", "--progress-spinner=off")
    print(f"$ pip-audit {' '.join(arguments)}", flush=True)
    try:
        done = subprocess.run(
            [BIN / "pip-audit", "--format=json", *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=AUDIT_SECONDS,
        )  # fmt: skip
        told = done.stderr.strip().splitlines()
        report = json.loads(done.stdout or "{}")
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        report, told = {}, [str(error)]
    text, is_clean = verdict(report)
    print(text if report else f"{text}: {told[-1] if told else 'no answer'}")
    return is_clean


def verdict(report: dict[str, Any]) -> tuple[str, bool]:
    """What pip-audit's report says, and whether that is no reason to fail."""
    packages = report.get("dependencies", [])
    asked = [package for package in packages if "skip_reason" not in package]
    weak = [(package, known) for package in asked for known in package["vulns"]]
    if not asked:
        return "pip-audit: its service told of no package, so nothing is known", True
    lines = [f"{p['name']} {p['version']}: {known['id']}" for p, known in weak]
    lines.append(f"pip-audit: {len(weak)} weaknesses in {len(asked)} packages")
    return "\n".join(lines), not weak


def main() -> None:
    """Do all of it, and fail if anything was found."""
    (ROOT / "build").mkdir(exist_ok=True)
    checks = (code_is_clean, weaknesses_are_unknown, licences_are_allowed, parts_are_listed)
    failed = [check.__name__ for check in checks if not check()]
    print(f"--- not so: {', '.join(failed)}" if failed else f"--- passed; the parts are in {SBOM}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
