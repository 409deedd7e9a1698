"""Who asks: the holder of an API key, or an address where no keys are set."""

import hashlib
import hmac
import re
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.dependencies import SettingsDep
from app.problems import Problem

BEARER = HTTPBearer(auto_error=False, description="One of the server's API keys, where it has any.")
WAIT = re.compile(r"wait=(\d{1,9})", re.IGNORECASE)


def identify(
    request: Request,
    settings: SettingsDep,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
) -> str:
    """The client that rows and limits are counted for, without its key in it.

    Raises Problem 401 when keys are set and the request's is none of them.
    """
    if not settings.keys:
        return f"address {request.client.host}" if request.client else "address unknown"
    key = given.credentials if given is not None else ""
    found = [hmac.compare_digest(key.encode(), known.encode()) for known in settings.keys]
    if not any(found):
        detail = "Authorization: a Bearer token with one of this server's API keys is needed"
        raise Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
    return f"key {hashlib.sha256(key.encode()).hexdigest()[:12]}"


def wait_seconds(request: Request, settings: SettingsDep) -> float:
    """How long the client waits (`Prefer: wait=SECONDS`), at most the server's own limit."""
    headers = ",".join(request.headers.getlist("prefer"))
    wishes = [WAIT.fullmatch(part.partition(";")[0].strip()) for part in headers.split(",")]
    seconds = [int(wish[1]) for wish in wishes if wish]
    return min([*seconds, settings.max_wait_seconds])


ClientDep = Annotated[str, Depends(identify)]
WaitDep = Annotated[float, Depends(wait_seconds)]
