"""Idempotency keys: a client that repeats a request with its key gets the same job or answer."""

import hashlib
import re
from dataclasses import dataclass

from app.jobs.errors import BadKey

KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


@dataclass(frozen=True)
class Key:
    """A client's Idempotency-Key, and the fingerprint of the request that it came with.

    Whoever comes again with the key must bring the same fingerprint.
    """

    client: str
    key: str
    fingerprint: str  # SHA-256, hex


def read_key(
    header: str | None, client: str, path: str, body_json: str, *, is_job: bool
) -> Key | None:
    """The key in an Idempotency-Key header; None without the header.

    It stands for the request's path, its fields with every default filled in (`body_json`), and
    whether it asks for a job. Raises BadKey unless it is 1..255 printable ASCII characters.
    """
    if header is None:
        return None
    if not KEY.fullmatch(header):
        raise BadKey(header, "it must be 1..255 printable ASCII characters")
    # Fingerprints are stored: another text here would refuse the keys of before an update.
    request = f"{path} {is_job} {body_json}"
    return Key(client, header, hashlib.sha256(request.encode()).hexdigest())
