"""`make lock`: write what the image installs, each file with its SHA-256, to deploy/.

    python -m tests.lock

    requirements.txt        the service, with PyTorch's build for CPUs or that of the package index
    requirements-cuda.txt   the same, and the libraries of CUDA that the latter needs on Linux
    requirements-ray.txt    the first, and Ray
    requirements-build.txt  what builds the wheel, and lists the parts of the image

The versions are those of constraints.txt; uv finds the hashes of all files that an index has.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
OLDEST_PYTHON = "3.11"
BLOCK = re.compile(r"^[A-Za-z0-9].*(?:\n +.*)*\n", re.MULTILINE)
"""A requirement and its hashes, which are indented."""
SERVICE = ("pyproject.toml", "--extra=openvino", "--extra=hub", "--extra=postgres", "--extra=s3")
FIRST = "-r requirements.txt\n"
BUILD = "hatchling\ncyclonedx-bom\n"
OF_CUDA = re.compile(r"nvidia-|cuda-|triton==")
CPU_BUILDS = {
    "2.13.0": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",  # cp311, x86-64
        "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",  # cp312, x86-64
    ),
}
"""SHA-256 of PyTorch's wheels for CPUs on Linux, which are on no index but PyTorch's own: it is the
same version, `pip download` and `sha256sum` tell the hash."""


def compiled(*arguments: str, given: str = "") -> list[str]:
    """The requirements that uv finds, each with its hashes. Raises CalledProcessError."""
    command = [
        "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header",
        "--no-annotate", "--no-emit-index-url", "--no-emit-find-links",
        f"--python-version={OLDEST_PYTHON}", "--constraints=constraints.txt", *arguments,
    ]  # fmt: skip
    found = subprocess.run(
        command, cwd=ROOT, input=given, stdout=subprocess.PIPE, text=True, check=True
    )
    return BLOCK.findall(found.stdout)


def with_cpu_builds(requirement: str) -> str:
    """The requirement; if it is torch, also with the hashes of its builds for CPUs.

    Raises KeyError for a version whose hashes CPU_BUILDS does not have yet.
    """
    version = re.match(r"torch==([\d.]+)", requirement)
    if version is None:
        return requirement
    hashes = "".join(f" \\\n    --hash=sha256:{each}" for each in CPU_BUILDS[version[1]])
    return f"{requirement.rstrip()}{hashes}\n"


def write(name: str, about: str, requirements: Sequence[str], first: str = "") -> None:
    """Write a file of deploy/, with a line that says what it is."""
    text = "".join(requirements)
    (DEPLOY / name).write_text(f"# {about}; `make lock` writes this.\n{first}{text}")


def main() -> None:
    """Write the files."""
    service = compiled(*SERVICE)
    cuda = [each for each in service if OF_CUDA.match(each)]
    plain = [with_cpu_builds(each) for each in service if each not in cuda]
    ray = [each for each in compiled(*SERVICE, "--extra=cluster") if each not in service]
    write("requirements.txt", "What the image runs, without CUDA", plain)
    write("requirements-cuda.txt", "The same with CUDA", cuda, FIRST)
    write("requirements-ray.txt", "The same with Ray", ray, FIRST)
    write(
        "requirements-build.txt",
        "What builds the wheel, and lists parts",
        compiled("-", given=BUILD),
    )


if __name__ == "__main__":
    main()
