"""A GET request to the Hub through the HTTP client of huggingface_hub, with limits on the answer.

That client knows the user's proxy, certificates and token, sends the token to no other host that
the Hub redirects to, and refuses to send anything in offline mode.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from diffusion import __version__
from diffusion.sources.errors import CheckpointError, Unreachable
from diffusion.sources.hub_id import HubId

READ_SECONDS = 10
"""Seconds that the Hub has for each part of an answer."""
TRANSIENT = {408, 425, 429}
"""HTTP statuses below 500 that may be others at the next try."""


@dataclass(frozen=True)
class Answer:
    """The Hub's answer to a request for what comes after `start` bytes."""

    response: Any
    start: int

    def parts(self, max_bytes: int, end: float) -> Iterator[bytes]:
        """The body, part by part as it comes.

        Raises Unreachable where it breaks off or is not whole at `end` (of time.monotonic), and
        CheckpointError when it has more than `max_bytes`.
        """
        received = 0
        try:
            for part in self.response.iter_bytes():
                received += len(part)
                if received > max_bytes:
                    raise CheckpointError(f"the Hub sends more than the {max_bytes} bytes expected")
                if time.monotonic() > end:
                    raise Unreachable(f"the Hub is too slow: {received} bytes came in time")
                yield part
        except (CheckpointError, Unreachable):
            raise
        except Exception as error:  # the classes are those of a client that we do not choose
            raise Unreachable(_reason(error)) from error


@contextmanager
def get(hub_id: HubId, url: str, token: str | None, start: int = 0) -> Iterator[Answer]:
    """A block with the answer; it begins after `start` bytes, or at 0 where the Hub cannot do that.

    Raises CheckpointError where there is no such thing or not for this user, and Unreachable where
    another try may succeed.
    """
    from huggingface_hub import constants, get_session, get_token

    if token is None and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        token = get_token()
    headers = {"User-Agent": f"ddpm/{__version__}", "Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if start:
        headers["Range"] = f"bytes={start}-"
    with ExitStack() as stack:
        try:
            stream = get_session().stream("GET", url, headers=headers, timeout=READ_SECONDS)
            response = stack.enter_context(stream)
        except Exception as error:  # the classes are those of a client that we do not choose
            raise Unreachable(_reason(error)) from error
        _check_status(hub_id, response.status_code, response.headers.get("X-Error-Code", ""))
        is_rest = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        yield Answer(response, start if response.status_code == 206 and is_rest else 0)


def _check_status(hub_id: HubId, status: int, code: str) -> None:
    """Raise the error that an HTTP status stands for. The Hub's `code` tells more."""
    if status < 300:
        return
    if status >= 500 or status in TRANSIENT:
        raise Unreachable(f"the Hub answered with the HTTP status {status}")
    if code == "RevisionNotFound":
        raise CheckpointError(f"{hub_id}: the Hub has this model, but not the revision")
    if code == "EntryNotFound":
        raise CheckpointError(f"{hub_id}: the Hub lists a file that it does not have")
    if code == "GatedRepo" or status == 403:
        raise CheckpointError(
            f"{hub_id}: the Hub gives this model only to those who were granted access: ask for it "
            "on the model's page, and set HF_TOKEN to a token of yours"
        )
    if status in (401, 404):  # the Hub does not tell who may not know whether there is one
        raise CheckpointError(
            f"{hub_id}: the Hub has no such model; or it is private, and HF_TOKEN must be set to a "
            "token that may read it"
        )
    raise CheckpointError(f"{hub_id}: the Hub answered with the HTTP status {status}")


def _reason(error: Exception) -> str:
    """Why the Hub was not reached, in one line; a URL in it may hold a secret and is not told."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    return f"the Hub cannot be reached ({type(error).__name__})"
