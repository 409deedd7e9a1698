"""A server on this machine that speaks the Hub's protocol, and lies where it is told to.

It serves the repository tests/tiny with one branch, `main`, and a few commits, and remembers what
it was asked for.
"""

import hashlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

REPOSITORY = "tests/tiny"
COMMIT = "1" * 40
SECOND = "2" * 40


def git_digest(content: bytes) -> str:
    """The name that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def read_folder(folder: Path) -> dict[str, bytes]:
    """A repository with the files of a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@dataclass
class FakeHub:
    """The state of the server; what a test changes counts from the next request on."""

    commits: dict[str, dict[str, bytes]]  # the files by commit
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    asked: list[str] = field(default_factory=list)  # methods and paths
    tokens: list[str | None] = field(default_factory=list)  # of the requests in `asked`
    url: str = ""

    # How it misbehaves
    status: tuple[int, str] | None = None  # of every answer, and the Hub's code for it
    failures: int = 0  # requests that get a 503 first
    listed: dict[str, Any] = field(default_factory=dict)  # fields of the list, instead of the true
    entries: list[dict[str, Any]] = field(default_factory=list)  # more files in the list
    sizes: dict[str, int] = field(default_factory=dict)  # that the list gives
    sends: dict[str, bytes] = field(default_factory=dict)  # instead of the files
    breaks_after: int | None = None  # bytes of a file, once
    has_ranges: bool = True
    elsewhere: str = ""  # the address of a server that has the files
    byte_seconds: float = 0  # between the bytes of a file

    def listing(self, commit: str) -> dict[str, Any]:
        """What /api/models/ID says."""
        siblings = []
        for name, content in self.commits[commit].items():
            size = self.sizes.get(name, len(content))
            entry = {"rfilename": name, "size": size, "blobId": git_digest(content)}
            if name.endswith((".safetensors", ".bin")):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": size, "pointerSize": 130}
            siblings.append(entry)
        return {
            "id": REPOSITORY, "sha": commit, "siblings": siblings + self.entries, **self.listed,
        }  # fmt: skip

    def fetched(self) -> list[str]:
        """The files that were sent, in order."""
        return [
            path.split("/", 5)[5]
            for path in self.asked
            if path.startswith("GET") and "/resolve/" in path
        ]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append(f"{self.command} {path}")
        hub.tokens.append(self.headers["Authorization"])
        if hub.failures:
            hub.failures -= 1
            self._answer(503, b"")
        elif hub.status:
            self._answer(hub.status[0], b"{}", {"X-Error-Code": hub.status[1]})
        elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            self._tree(path.removeprefix(f"/api/models/{REPOSITORY}/tree/"))
        elif path.startswith(f"/api/models/{REPOSITORY}"):
            self._list(path.removeprefix(f"/api/models/{REPOSITORY}").removeprefix("/revision/"))
        elif path.startswith(f"/{REPOSITORY}/resolve/"):
            self._file(*path.removeprefix(f"/{REPOSITORY}/resolve/").split("/", 1))
        else:
            self._answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _list(self, revision: str) -> None:
        commit = self.hub.branches.get(revision or "main", revision)
        if commit not in self.hub.commits:
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        self._answer(200, json.dumps(self.hub.listing(commit)).encode())

    def _tree(self, revision: str) -> None:
        """The list as huggingface_hub itself asks for it."""
        listing = self.hub.listing(self.hub.branches.get(revision, revision))
        entries = [
            {"type": "file", "path": entry["rfilename"], "oid": entry["blobId"], **entry}
            for entry in listing["siblings"]
        ]
        for entry in entries:
            if "lfs" in entry:
                entry["lfs"] = {**entry["lfs"], "oid": entry["lfs"]["sha256"]}
        self._answer(200, json.dumps(entries).encode())

    def _file(self, commit: str, name: str) -> None:
        hub = self.hub
        if hub.elsewhere:
            self._answer(302, b"", {"Location": f"{hub.elsewhere}{self.path}"})
            return
        commit = hub.branches.get(commit, commit)
        content = hub.commits[commit].get(name)
        if content is None:
            self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        is_large = name.endswith((".safetensors", ".bin"))
        digest = hashlib.sha256(content).hexdigest() if is_large else git_digest(content)
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": commit}
        content = hub.sends.get(name, content)
        start = self.headers.get("Range", "")
        if hub.has_ranges and start:
            first = int(start.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self._answer(206, content[first:], headers)
        else:
            self._answer(200, content, headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        is_file = headers is not None and "ETag" in headers
        if is_file and self.hub.breaks_after is not None and len(body) > self.hub.breaks_after:
            self.wfile.write(body[: self.hub.breaks_after])
            self.hub.breaks_after = None
            self.close_connection = True
        elif is_file and self.hub.byte_seconds:
            self._drip(body)
        else:
            self.wfile.write(body)

    def _drip(self, body: bytes) -> None:
        try:
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(self.hub.byte_seconds)
        except OSError:  # the client gave up
            self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def serve(hub: FakeHub) -> Iterator[FakeHub]:
    """A block in which the server listens at `hub.url`."""
    handler = type("Bound", (Handler,), {"hub": hub})
    with Server(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
