"""The deployment `server`: the API process, whose engines are the replicas of `engines`."""

import asyncio
import contextlib
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.cluster.roster import Roster
from app.local_engines import engine_options
from app.main import create_app
from app.pool.pool import EnginePool
from app.serve import ANSWER_SECONDS
from app.settings import Settings

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

LOOK_SECONDS = 0.1
"""How often to look whether the last requests are answered."""


class Server:
    """Serves HTTP, and gives the engines work."""

    def __init__(self, engines: "DeploymentHandle[Any]", settings: Mapping[str, str]) -> None:
        """`settings` go before the environment's."""
        self.settings = Settings(**dict(settings))  # type: ignore[arg-type]  # read like variables
        self._engines = engines
        self._failure: str | None = None
        self._has_failed = asyncio.Event()
        self._app: FastAPI | None = None
        self._requests: Requests | None = None
        logs.configure(self.settings.log_format, self.settings.log_level)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The app, which Ray Serve asks for."""
        self._app = create_app(self.settings, self._fail, recruit=self._recruit)
        self._requests = Requests(self._app)
        return self._requests

    def _recruit(self, pool: EnginePool) -> AbstractAsyncContextManager[None]:
        settings = self.settings
        return Roster(
            pool,
            self._engines,
            engine_options(settings, settings.device, settings.threads),
            settings.hang_seconds,
            settings.cluster_silence_seconds,
            settings.shutdown_seconds,
            self._fail,
            None if settings.cluster_engines else settings.cluster_idle_seconds,
        ).running()

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._has_failed.set()

    def check_health(self) -> None:
        """Raise RuntimeError when the server cannot go on: Ray Serve starts another one."""
        if self._failure is not None:
            raise RuntimeError(self._failure)

    async def ready(self) -> None:
        """Return once requests can be answered."""
        assert self._app is not None
        await self._app.state.services.until_ready()

    async def failure(self) -> str:
        """Why the server cannot go on, once that is so."""
        await self._has_failed.wait()
        return self._failure or ""

    async def read_keys(self) -> None:
        """Read the file of API keys again, if there is one."""
        assert self._app is not None
        if self.settings.api_keys_file:
            self._app.state.services.clients.reload()

    async def drain(self) -> None:
        """Take no new job from now on; return when all requests are answered, which those are that
        still wait once their time is over. Jobs go on elsewhere, or at the next start."""
        assert self._app is not None and self._requests is not None
        pool: EnginePool = self._app.state.services.pool
        seconds = self.settings.shutdown_seconds
        draining = asyncio.create_task(pool.drain(seconds))
        await asyncio.sleep(0)  # it has begun
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds + ANSWER_SECONDS):
                while self._requests.unanswered:
                    await asyncio.sleep(LOOK_SECONDS)
        draining.cancel()


class Requests:
    """ASGI middleware that counts the requests which are not answered yet, and leaves X-Request-ID
    to Ray's proxy, which gives every answer the same one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.unanswered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def anonymous_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                kept = [each for each in headers if each[0].lower() != b"x-request-id"]
                message = {**message, "headers": kept}
            await send(message)

        counted = int(scope["type"] == "http")
        self.unanswered += counted
        try:
            await self.app(scope, receive, anonymous_send)
        finally:
            self.unanswered -= counted
