"""A real PostgreSQL server for the tests, in a temporary folder, reached by a Unix socket.

python -m tests.postgres   # what `make test-postgres` runs first: installs one if root
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

PLACES = Path("/usr/lib/postgresql")
START_SECONDS = 30
INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]


def find() -> Path | None:
    """The folder of `initdb` and `postgres`; None without them."""
    for folder in sorted(PLACES.glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return None if found is None else Path(found).parent


class Postgres:
    """`with Postgres(find()) as server:`; it refuses to run as root, so root runs it as another."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="ddpm-postgres-"))
        self._user = unprivileged_user()

    def __enter__(self) -> "Postgres":
        if self._user is not None:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        data = str(self._folder / "data")
        arguments = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        self._run("initdb", *arguments)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Serve the data that is there; it is ready then."""
        data = str(self._folder / "data")
        # fsync matters to a machine that loses power, which these tests do not do
        options = ["-D", data, "-k", str(self._folder), "-c", "listen_addresses=", "-F"]
        self._log = (self._folder / "log").open("a")
        self._process = subprocess.Popen(
            [self._programs / "postgres", *options],
            cwd="/", user=self._user, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._wait()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it without waiting for clients to leave; SIGQUIT: as in a crash."""
        self._process.send_signal(how)
        self._process.wait(30)
        self._log.close()

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"test_{uuid4().hex}"
        self._run("createdb", "-h", str(self._folder), "-U", "postgres", name)
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        command = [str(self._programs / "pg_isready"), "-h", str(self._folder), "-q"]
        while subprocess.run(command).returncode:
            assert self._process.poll() is None and time.monotonic() < deadline, (
                self._folder / "log"
            ).read_text()
            time.sleep(0.1)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, cwd="/", user=self._user, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def unprivileged_user() -> str | None:
    """Whom root runs it as; None for everybody else."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def main() -> int:
    """Install PostgreSQL unless it is there; the exit status."""
    if find() is not None:
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.stderr.write("no PostgreSQL found; install one so that initdb is on PATH\n")
        return 1
    subprocess.run(["apt-get", "update", "-q"], check=True)
    subprocess.run(INSTALL, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    return 0 if find() is not None else 1


if __name__ == "__main__":
    sys.exit(main())
