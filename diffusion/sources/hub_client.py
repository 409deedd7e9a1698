"""What the Hub is asked for: the list of a repository's files, and a file.

The Hub is not trusted further than its list: a file has the bytes and the digest that were listed,
or it is not kept. Files come over plain HTTP; Xet is not needed.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

from diffusion.sources.errors import CheckpointError, Unreachable
from diffusion.sources.hub_http import get
from diffusion.sources.hub_id import COMMIT, HubId

LIST_SECONDS = 60.0
"""For a list, and for a file besides its bytes."""
LEAST_RATE = 32 << 10
"""Bytes of a file that come in a second, at least, over the whole of it."""
MAX_LIST_BYTES = 16 << 20
"""Of a list: about 80,000 files."""
TRIES = 4
PAUSE_SECONDS = 1.0
"""Before the second try; twice as many before each further one."""
CHUNK_BYTES = 1 << 20
SHA1, SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")
OnBytes = Callable[[int], object]
"""Is called with the number of bytes that came, and with a negative one where they come again."""


@dataclass(frozen=True)
class HubFile:
    """A file as the Hub lists it: its bytes, and in hexadecimal digits their SHA-256, or git's
    SHA-1 where the file is kept in git itself."""

    size: int
    digest: str


@dataclass(frozen=True)
class Client:
    """The Hub at an address. `token` is the user's; None: as huggingface_hub finds it."""

    endpoint: str
    token: str | None = field(default=None, repr=False)
    pause: Callable[[float], None] = field(default=time.sleep, repr=False)

    def list(self, hub_id: HubId, tries: int = TRIES) -> tuple[str, dict[str, HubFile]]:
        """Return the commit that is meant, and its files by name.

        Raises CheckpointError where there is no such model or revision, or not for this user, and
        Unreachable where the Hub does not answer.
        """
        url = f"{self.endpoint}/api/models/{hub_id.repository}"
        if hub_id.revision is not None:
            url += f"/revision/{quote(hub_id.revision, safe='')}"

        def ask() -> bytes:
            with get(hub_id, f"{url}?blobs=true", self.token) as answer:
                return b"".join(answer.parts(MAX_LIST_BYTES, time.monotonic() + LIST_SECONDS))

        commit, files = _read_list(hub_id, self._again(ask, tries))
        if hub_id.is_pinned and commit != hub_id.revision:
            raise CheckpointError(f"{hub_id}: the Hub answered with another commit, {commit}")
        return commit, files

    def fetch(
        self, hub_id: HubId, name: str, listed: HubFile, target: BinaryIO, on_bytes: OnBytes
    ) -> None:
        """Write a file of a pinned id to the empty `target`, which must be readable, too.

        Raises CheckpointError where it is not what was listed, and else as `list` does.
        """
        url = f"{self.endpoint}/{hub_id.repository}/resolve/{hub_id.branch}/{quote(name)}"
        end = time.monotonic() + LIST_SECONDS + listed.size / LEAST_RATE

        def receive() -> None:
            if target.tell() < listed.size:
                self._receive(hub_id, url, listed.size, target, on_bytes, end)

        self._again(receive, TRIES, end)
        if _digest(target, listed) != listed.digest:
            raise CheckpointError(f"{hub_id}: {name}: what came is not the file that the Hub lists")

    def _receive(
        self, hub_id: HubId, url: str, size: int, target: BinaryIO, on_bytes: OnBytes, end: float
    ) -> None:
        """Append to `target` what it lacks, or all again where the Hub sends no parts of files."""
        with get(hub_id, url, self.token, target.tell()) as answer:
            if answer.start != target.tell():
                on_bytes(-target.tell())
                target.seek(0)
                target.truncate()
            for part in answer.parts(size - target.tell(), end):
                target.write(part)
                on_bytes(len(part))
        if target.tell() < size:
            raise Unreachable(f"the Hub sent {target.tell()} of {size} bytes")

    def _again(self, ask: Callable[[], T], tries: int, end: float = float("inf")) -> T:
        """Do what may fail for a while, at most so many times."""
        for attempt in range(1, tries):
            try:
                return ask()
            except Unreachable:
                if time.monotonic() > end or is_offline():
                    raise
            self.pause(PAUSE_SECONDS * 2 ** (attempt - 1))
        return ask()


def is_offline() -> bool:
    """Has the user said, with HF_HUB_OFFLINE, that nothing may be sent?"""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _digest(file: BinaryIO, listed: HubFile) -> str:
    digest = hashlib.sha256()
    if SHA1.fullmatch(listed.digest):
        digest = hashlib.sha1(b"blob %d\0" % listed.size, usedforsecurity=False)
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _read_list(hub_id: HubId, body: bytes) -> tuple[str, dict[str, HubFile]]:
    """The commit and the files of the Hub's answer; a file that is not listed whole is left out."""
    try:
        values = json.loads(body)
        commit, entries = values["sha"], values["siblings"]
        files = {entry["rfilename"]: _read_file(entry) for entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{hub_id}: what answered is not the Hub: HF_ENDPOINT, or a proxy, may be wrong"
        ) from error
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise CheckpointError(f"{hub_id}: the Hub names no commit")
    return commit, {name: file for name, file in files.items() if file is not None}


def _read_file(entry: dict[str, Any]) -> HubFile | None:
    kept = entry.get("lfs") or {}
    size, digest = kept.get("size", entry.get("size")), kept.get("sha256", entry.get("blobId"))
    pattern = SHA256 if kept else SHA1
    if type(size) is not int or size < 0:
        return None
    if not isinstance(digest, str) or not pattern.fullmatch(digest):
        return None
    return HubFile(size, digest)
