"""What a client prefers (RFC 7240), and the key under which it repeats a request."""

import hashlib
import re
from typing import Annotated

from fastapi import Depends, Request

from app.generation.schemas import SampleRequest
from app.http.problems import Problem, shorten
from app.jobs.store import Key
from app.routes.dependencies import Services

WAIT = re.compile(r"wait=(\d{1,9})")
KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


def _preferences(request: Request) -> list[str]:
    """What the Prefer headers say, without parameters."""
    elements = ",".join(request.headers.getlist("prefer")).split(",")
    return [element.partition(";")[0].strip().lower() for element in elements]


def prefers_async(request: Request) -> bool:
    """Does a Prefer header say respond-async?"""
    return "respond-async" in _preferences(request)


async def wait_seconds(request: Request) -> float:
    """How long the client waits (`Prefer: wait=SECONDS`), at most the server's own limit."""
    limit = Services.of(request).settings.max_wait_seconds
    wishes = map(WAIT.fullmatch, _preferences(request))
    return min([*(int(wish[1]) for wish in wishes if wish), limit])


WaitDep = Annotated[float, Depends(wait_seconds)]


def refuse_webhook(request: Request) -> None:
    """Raises Problem 422 for a webhook where there is no job to tell of."""
    if "x-webhook-url" in request.headers:
        raise Problem(422, "X-Webhook-URL: it applies to jobs: Prefer: respond-async")


def idempotency_key(request: Request, body: SampleRequest, client: str) -> Key | None:
    """The client's key of a request, which stands for its path, its fields and whether it is to
    be a job.

    Raises Problem 422 unless it is 1..255 printable ASCII characters.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not KEY.fullmatch(key):
        reason = "it must be 1..255 printable ASCII characters"
        raise Problem(422, f"Idempotency-Key: {shorten(key)} is not allowed: {reason}")
    what = f"{request.url.path} {prefers_async(request)} {body.model_dump_json()}"
    return Key(client, key, hashlib.sha256(what.encode()).hexdigest())
