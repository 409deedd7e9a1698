"""The server process of `ddpm serve`: uvicorn, from the settings to the exit status."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

import uvicorn

from app import logs
from app.address import listen, local_url
from app.environment import service_variables, unknown_variables
from app.http.uvicorn_protocol import patient_protocol
from app.main import create_app
from app.pool.engine_process import COMMAND
from app.pool.pool import EnginePool
from app.settings import Settings
from diffusion import __version__

ANSWER_SECONDS = 5
"""Seconds at shutdown for sending the last answers, after requests have been given up."""
log = logging.getLogger("ddpm.server")


def run(settings: Settings, engine_command: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the exit status is 1 when no engine can ever start.

    Engines are started by `engine_command`; None: by our own. Raises SettingError before anything
    runs.
    """
    logs.configure(settings.log_format, settings.log_level)
    warn_of(os.environ)
    app = create_app(settings, lambda reason: stop(server, reason), engine_command or COMMAND)
    pool = app.state.services.pool
    server = Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=settings.shutdown_seconds + ANSWER_SECONDS,
            server_header=False,
            http=patient_protocol(settings.body_seconds, settings.write_seconds),
            ws="none",  # an Upgrade is ignored; uvicorn would answer it with plain text
            access_log=False,  # app.http.access_log writes those lines
            log_config=None,
            reset_contextvars=True,  # else a pipelined request would find its predecessor's
        ),
        until_ready=pool.has_been_ready.wait,
        drain=lambda: drain(pool, settings.shutdown_seconds),
        on_ready=log_address if settings.log_format == "json" else print_address,
    )
    sockets = listen(settings.host, settings.port)  # refused before a model is loaded
    log.info("starting ddpm %s: the model is %s", __version__, settings.checkpoint)
    for stopping in (signal.SIGINT, signal.SIGTERM):
        # uvicorn shuts down on these, then raises them again; the second time they do nothing.
        signal.signal(stopping, lambda *_: None)
    server.run(sockets)
    log.info("stopped")
    return 1 if pool.unusable else 0


def warn_of(variables: Mapping[str, str]) -> None:
    """Log a warning of the environment `variables` that look like settings and are not."""
    for name in unknown_variables(variables, Settings.model_fields):
        log.warning(
            "the environment variable %s is not a setting; `ddpm serve --help` lists all settings",
            name,
        )
    services = service_variables(variables)
    if services:
        log.warning(
            "ignored %s: Kubernetes makes these variables for a Service named ddpm, unless "
            "`enableServiceLinks: false`",
            ", ".join(services),
        )


class Server(uvicorn.Server):
    """A uvicorn server that announces its address, and lets running requests finish.

    `on_ready` is called with the page's address when it listens and `until_ready` has returned.
    When it is to stop, `drain` runs while the last requests are answered.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        until_ready: Callable[[], Awaitable[object]],
        on_ready: Callable[[str], None],
        drain: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        super().__init__(config)
        self._until_ready = until_ready
        self._on_ready = on_ready
        self._drain = drain
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and announce the address once the server is ready."""
        try:
            await super().startup(sockets)
        except SystemExit:  # uvicorn has logged why
            log.error(
                "cannot listen on %s, port %s: choose another --port (0: any free one) or --host",
                self.config.host,
                self.config.port,
            )
            raise
        if self.started:
            log.info("listening on %s; Ctrl-C stops the server", self._url)
            self._announcing = asyncio.create_task(self._announce())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and end when the last requests are answered or `drain` gave them up."""
        draining = asyncio.create_task(self._drain())
        await super().shutdown(sockets)
        draining.cancel()

    async def _announce(self) -> None:
        await self._until_ready()
        self._on_ready(self._url)

    @property
    def _url(self) -> str:
        # The socket knows the port: port 0 in the settings means any free one.
        port = self.servers[0].sockets[0].getsockname()[1]
        return local_url(self.config.host, port)


async def drain(pool: EnginePool, seconds: int) -> None:
    """Take no new job from now on, and give those that run `seconds`; says so in the log."""
    images = pool.queued_samples
    if images:
        log.info("stopping: the %d unfinished images have %d s", images, seconds)
    else:
        log.info("stopping")
    await pool.drain(seconds)


def print_address(url: str) -> None:
    """Tell a person at a terminal where the page is."""
    print(f"Ready. Open {url} in a browser.", flush=True)  # noqa: T201


def log_address(url: str) -> None:
    """Log where the page is, for a program that reads only JSON lines."""
    log.info("ready", extra={"url": url})


def stop(server: uvicorn.Server, reason: str) -> None:
    """End a server whose engines can never start, and say why on standard error."""
    print(f"ddpm serve: {reason}", file=sys.stderr)  # noqa: T201
    server.should_exit = True
