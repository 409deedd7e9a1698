"""`make test-container`: build the image, look at it, run it, sample from it over HTTP, kill it in
the middle of a job, and run it again.

    python -m tests.container [--target TARGET] [--base IMAGE] [--wheelhouse DIR]

With a Docker engine it uses that; else Debian's `buildah` and `runc`, which need none.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from PIL import Image

from tests.app.server import free_port
from tests.deploy.containers import Engine, find_engine

REQUEST = {"n": 2, "seed": 1, "sampler": "ddim", "steps": 20, "labels": [3, 7]}
JOB = {"n": 200, "seed": 5, "sampler": "ddim", "steps": 50, "labels": 4}
NPZ = {"Accept": "application/x-npz"}
START_SECONDS = 300
STOP_SECONDS = 60
MAX_BYTES = {"cpu": 1_500_000_000}
"""Size of the image for CPUs, which is to stay small; the others have no bound."""


def say(text: str) -> None:
    print(f"--- {text}", flush=True)


def wait_until(
    condition: Callable[[], bool], what: str, process: "subprocess.Popen[bytes]"
) -> None:
    """Wait for it; end this process when the container ends, or it takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{what}: not reached; the container's status is {process.poll()}")
        time.sleep(0.5)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def container(engine: Engine, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A container that is ready; killed at the end, if it still runs."""
    say(f"starting the container on port {port}")
    begun = time.monotonic()
    process = engine.start(port)
    try:
        wait_until(lambda: is_ready(f"http://127.0.0.1:{port}"), "/readyz", process)
        say(f"ready after {time.monotonic() - begun:.1f} s")
        yield process
    finally:
        if process.poll() is None:
            engine.signal("KILL")
            process.wait(STOP_SECONDS)


def sample(url: str) -> bytes:
    """The grid, checked to be a picture of the right size."""
    response = httpx.post(
        f"{url}/sample", json=REQUEST, headers={"Accept": "image/png"}, timeout=120
    )
    response.raise_for_status()
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.size == (56, 28), image.size
        assert len(set(image.tobytes())) > 10, "the picture is not empty"
    return response.content


def inside(engine: Engine, *command: str) -> str:
    """What a command in the container prints. Raises AssertionError when it fails."""
    done = engine.execute(*command)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def check_rights(engine: Engine) -> None:
    """Raise AssertionError for more rights than the server needs."""
    user = inside(engine, "id", "-u")
    assert user == "10001", f"it runs as user {user}"
    status = inside(engine, "cat", "/proc/1/status").splitlines()
    rights = {line.split()[1] for line in status if line.startswith("Cap")}
    assert rights == {"0" * 16}, rights
    for place in ("/", "/srv", "/venv", "/etc"):
        assert engine.execute("touch", f"{place}/new").returncode, f"{place} can be written to"
    for place in ("/tmp", "/jobs", "/cache"):
        inside(engine, "touch", f"{place}/new")
    say(f"user {user}, no capabilities; only /tmp, /jobs and /cache can be written to")


def check_parts(engine: Engine) -> None:
    """Raise AssertionError where the list of parts does not have what is installed."""
    parts = json.loads(inside(engine, "cat", "/venv/sbom.json"))["components"]
    names = {part["name"] for part in parts}
    assert {"torch", "openvino", "psycopg", "ddpm-service"} <= names, names
    say(f"/venv/sbom.json lists {len(parts)} packages")


def check_answers(engine: Engine, url: str) -> None:
    """Raise AssertionError for wrong answers."""
    assert sample(url) == sample(url), "the same request gives the same bytes"
    health = inside(engine, "python3", "-m", "app.health")
    say(f"two digits, twice the same bytes; healthy: {health}")


def check(engine: Engine, port: int) -> None:
    """Run the image, kill it in the middle of a job, run it again. Raises AssertionError."""
    url = f"http://127.0.0.1:{port}"
    with container(engine, port) as process:
        check_answers(engine, url)
        check_rights(engine)
        check_parts(engine)
        asked = {"Prefer": "respond-async"}
        job = httpx.post(f"{url}/sample", json=JOB, headers=asked).raise_for_status().json()["id"]
        while (done := httpx.get(f"{url}/jobs/{job}").json()["done"]) == 0:
            time.sleep(0.05)
        engine.signal("KILL")
        process.wait(STOP_SECONDS)
    assert done < JOB["n"], "the job was not over"
    say(f"killed when {done} images of {JOB['n']} were made")
    with container(engine, port) as process:
        status = f"{url}/jobs/{job}"
        wait_until(lambda: httpx.get(status).json()["status"] == "finished", "the job", process)
        result = httpx.get(f"{status}/result", headers=NPZ, timeout=60).content
        at_once = httpx.post(f"{url}/sample", json=JOB, headers=NPZ, timeout=300).content
        assert result == at_once, "the job's images are those of an undisturbed request"
        say("the job went on, and has the bytes of an undisturbed request")
        engine.signal("TERM")
        ended = process.wait(STOP_SECONDS)
    assert ended == 0, f"it ended with status {ended}"
    say("stopped by SIGTERM with status 0")


def check_size(engine: Engine, target: str) -> None:
    """Say how large the image is. Raises AssertionError for one that is too large."""
    size = engine.size()
    say(f"the image `{target}` has {size / 1e6:,.0f} MB")
    assert size < MAX_BYTES.get(target, size + 1), f"more than {MAX_BYTES[target] / 1e6:,.0f} MB"


def main() -> None:
    """Build, check, clean up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    targets = ["cpu", "gpu", "ray"]
    parser.add_argument("--target", choices=targets, default="cpu", help="the image's kind (cpu)")
    parser.add_argument("--base", help="base image (the Dockerfile's)")
    parser.add_argument("--wheelhouse", type=Path, help="install from this folder of wheels only")
    parser.add_argument("--keep", action="store_true", help="keep the image")
    args = parser.parse_args()
    engine = find_engine()
    given = {"BASE": args.base}
    if args.wheelhouse:
        given["PIP_ARGS"] = "--no-index --find-links /wheels"
    arguments = [part for k, v in given.items() if v for part in ("--build-arg", f"{k}={v}")]
    try:
        say("building the image")
        begun = time.monotonic()
        engine.build(
            ["--target", args.target, *arguments], args.wheelhouse and args.wheelhouse.resolve()
        )
        say(f"built in {time.monotonic() - begun:.0f} s")
        check_size(engine, args.target)
        check(engine, free_port())
        say("passed")
    finally:
        engine.remove(keep_image=args.keep)


if __name__ == "__main__":
    main()
