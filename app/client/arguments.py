"""What a client and its methods are given, checked at once: address, key, time, job."""

import re
import threading

import httpx

from app.client.status import Job

TIMEOUT_SECONDS = 600.0
"""How long a call may take, where nothing else is asked for."""
HEADER_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?")
"""What a header can carry: printable ASCII, without spaces at its ends."""


def server_url(url: str) -> httpx.URL:
    """The base of all addresses. A path stays, since a proxy may have put the server below it; what
    the page writes behind a `?` does not.

    Raises ValueError for anything that is not http:// or https:// and a host.
    """
    if not isinstance(url, str):
        reason = "it must be a text that begins with http:// or https://"
        raise ValueError(f"url: {url!r} is not allowed: {reason}")
    text = url.strip()
    try:
        parsed = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError(f"url: {url!r} is not allowed: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        meant = f"; is it http://{text}?" if text and ":/" not in text else ""
        reason = f"it must begin with http:// or https:// and name a host{meant}"
        raise ValueError(f"url: {url!r} is not allowed: {reason}")
    return parsed.copy_with(query=None, fragment=None)


def headers(api_key: str | None) -> dict[str, str]:
    """The headers of every request. Raises ValueError for a key that no header can carry; the
    message does not show it."""
    if not isinstance(api_key, str | None):
        raise ValueError(f"api_key: it must be a text or None, not {type(api_key).__name__}")
    # Ranges count bytes as they are sent, so nothing may be compressed on the way.
    found = {"Accept-Encoding": "identity"}
    key = (api_key or "").strip()
    if not key:
        return found
    if not HEADER_TEXT.fullmatch(key):
        raise ValueError("api_key: it must be of letters, digits and signs in ASCII")
    return {**found, "Authorization": f"Bearer {key}"}


def seconds(timeout: float) -> float:
    """How long a call may take; infinity becomes the longest time that a socket can wait. Raises
    ValueError unless it is above 0."""
    if not isinstance(timeout, int | float) or not timeout > 0:
        reason = "it must be seconds, above 0; math.inf for no limit"
        raise ValueError(f"timeout: {timeout!r} is not allowed: {reason}")
    return min(timeout, threading.TIMEOUT_MAX / 1000)


def check_header(name: str, value: str) -> None:
    """Raise ValueError for the argument `name` if no header can carry its value."""
    if not isinstance(value, str) or not HEADER_TEXT.fullmatch(value):
        reason = (
            "it must be a text that a header carries: printable ASCII without spaces at its ends"
        )
        raise ValueError(f"{name}: {value!r} is not allowed: {reason}")


def shown(url: httpx.URL) -> str:
    """An address as errors name it: without a password, query or fragment."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def job_id(job: Job | str) -> str:
    """A job's id. Raises ValueError for anything that is neither a job nor an id."""
    found = job.id if isinstance(job, Job) else job
    if not isinstance(found, str) or found in ("", ".", ".."):  # of which paths would be others
        raise ValueError(f"job: {job!r} is not allowed: it must be a Job, or the id of one")
    return found
