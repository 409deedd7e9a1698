"""Who is asking: the holder of an API key, or a network address where no keys are set."""

import hashlib
import hmac
from collections.abc import Sequence

from app.http.problems import Problem


def identify(keys: Sequence[str], given_key: str | None, address: str | None) -> str:
    """The name under which a client's work and limits are counted; it does not reveal the key.

    `keys` are the server's API keys, `given_key` is the request's. Without `keys` the name is the
    client's `address`. Raises Problem 401 when `given_key` is none of the `keys`.
    """
    if not keys:
        return f"address {address}" if address else "address unknown"
    given = (given_key or "").encode()
    # Every comparison takes the same time, so that timing tells nothing about a key.
    matches = [hmac.compare_digest(given, key.encode()) for key in keys]
    if not any(matches):
        detail = "Authorization: this server needs one of its API keys as a Bearer token"
        raise Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
    return f"key {hashlib.sha256(given).hexdigest()[:12]}"
