"""A headless Chromium for the page's tests. `python -m tests.browser` installs one if need be.

The one that $CHROMIUM names is taken, else one on the PATH, else Playwright's own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--no-sandbox",  # containers run as root, where Chromium refuses its own sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium(playwright: Playwright) -> str | None:
    """The path of a Chromium, or None."""
    named = os.environ.get("CHROMIUM")
    found = [named] if named else [path for name in NAMES if (path := shutil.which(name))]
    candidates = [*found, playwright.chromium.executable_path]
    return next((path for path in candidates if Path(path).is_file()), None)


def install() -> None:
    """With Debian's package manager where one may use it, else with Playwright's."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-q"], check=True)
        packages = ["chromium", "fonts-dejavu-core"]
        install = ["apt-get", "install", "-qy", "--no-install-recommends", *packages]
        subprocess.run(install, check=True)
    else:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


def main() -> None:
    """Raises CalledProcessError when none can be installed."""
    with sync_playwright() as playwright:
        is_there = find_chromium(playwright) is not None
    if not is_there:
        install()


if __name__ == "__main__":
    main()
