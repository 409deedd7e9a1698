"""Who asks: the holder of an API key, or an address where no keys are set."""

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.http.problems import Problem
from app.routes.dependencies import Services

BEARER = HTTPBearer(auto_error=False, description="One of the server's API keys, where it has any.")


async def identify(
    request: Request,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
) -> str:
    """The client that rows and limits are counted for, without its key in it.

    Raises Problem 401 when keys are set and the request's is none of them.
    """
    settings = Services.of(request).settings
    if not settings.keys:
        return f"address {request.client.host}" if request.client else "address unknown"
    key = given.credentials if given is not None else ""
    found = [hmac.compare_digest(key.encode(), known.encode()) for known in settings.keys]
    if not any(found):
        detail = "Authorization: a Bearer token with one of this server's API keys is needed"
        raise Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
    return f"key {hashlib.sha256(key.encode()).hexdigest()[:12]}"


ClientDep = Annotated[str, Depends(identify)]
