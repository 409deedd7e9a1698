"""The server process of `ddpm serve`: uvicorn, from the settings to the exit status."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from app import logs
from app.address import check_exposure, listen, local_url
from app.door.clients import Clients
from app.environment import service_variables, unknown_variables
from app.http.uvicorn_protocol import ConnectionLimit, patient_protocol
from app.local_engines import LocalEngines
from app.pool.child import COMMAND
from app.pool.pool import EnginePool
from app.settings import SettingError, Settings
from app.tasks import Supervised
from app.tls import check_certificate, load_certificate
from diffusion import __version__

if TYPE_CHECKING:
    from fastapi import FastAPI

ANSWER_SECONDS = 5
"""Seconds at shutdown for sending the last answers, after requests have been given up."""
EXIT_SECONDS = 5.0
"""Seconds that what still runs has for ending when everything has been stopped."""
STREAMS = (0, 1, 2)
"""The descriptors of standard input, output and error."""
log = logging.getLogger("ddpm.server")


def run(settings: Settings, engine_command: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the exit status is 1 when the server could not go on.

    Engines are started by `engine_command`; None: by our own. Raises SettingError before anything
    is served.
    """
    open_streams()
    logs.configure(settings.log_format, settings.log_level)
    warn_of(os.environ)
    check_certificate(settings)
    sockets = listen(settings.host, settings.port)  # refused before a model is fetched or loaded
    check_exposure(sockets, settings)
    engines = LocalEngines(settings, engine_command or COMMAND)
    with contextlib.ExitStack() as opened:
        for listening in sockets:
            opened.enter_context(listening)
        runner = opened.enter_context(asyncio.Runner(loop_factory=auto_loop_factory()))
        try:
            runner.run(engines.start())
            return serve(settings, sockets, engines, runner)
        finally:
            runner.run(engines.stop())


def serve(
    settings: Settings, sockets: list[socket.socket], engines: LocalEngines, runner: asyncio.Runner
) -> int:
    """Serve with these engines, which are loading meanwhile, as `run` does."""
    from app.main import create_app

    app = create_app(settings, lambda reason: server.fail(reason), engines)
    pool, clients = app.state.services.pool, app.state.services.clients

    def hangup() -> None:
        read_again(server.config, settings, clients)

    server = Server(
        configure(app, settings),
        until_ready=app.state.services.until_ready,
        drain=lambda: drain(pool, settings.shutdown_seconds),
        on_ready=log_address if settings.log_format == "json" else print_address,
        on_hangup=hangup if has_files(settings) else None,
        on_stopped=lambda: exit_soon(1 if server.failure else 0),
        on_hurry=pool.hurry,
    )
    if settings.insecure and not settings.needs_key:
        log.warning("this server has no API keys: everybody who reaches it may use it")
    origins = (entry.version.source.origin for entry in app.state.services.models)
    log.info("starting ddpm %s: it serves %s", __version__, ", ".join(origins))
    take_signals(server, settings)
    runner.run(server.serve(sockets))
    log.info("stopped")
    return 1 if server.failure else 0


def open_streams() -> None:
    """Open the null device in the place of each standard stream that is closed. Else a socket would
    take the place, which the event loop's library does not bear: it aborts the process."""
    while (opened := os.open(os.devnull, os.O_RDWR)) in STREAMS:
        os.set_inheritable(opened, True)
    os.close(opened)


def take_signals(server: "Server", settings: Settings) -> None:
    """Have the server take signals from now on, before it handles them itself, and after."""
    for stopping in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises those that it has handled again, in the end: then it has stopped.
        signal.signal(stopping, server.stop)
    if has_files(settings):
        signal.signal(signal.SIGHUP, server.hang_up)


def configure(app: "FastAPI", settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the app."""
    limit = ConnectionLimit.of_this_process()
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=settings.proxies,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds + ANSWER_SECONDS,
        server_header=False,
        http=patient_protocol(settings.body_seconds, settings.write_seconds, limit),
        ws="none",  # an Upgrade is ignored; uvicorn would answer it with plain text
        access_log=False,  # app.http.access_log writes those lines
        log_config=None,
        reset_contextvars=True,  # else a pipelined request would find its predecessor's
    )


def warn_of(variables: Mapping[str, str]) -> None:
    """Log a warning of the environment `variables` that look like settings and are not."""
    if "FORWARDED_ALLOW_IPS" in variables:
        log.warning("ignored FORWARDED_ALLOW_IPS: DDPM_TRUSTED_PROXIES has the proxies' addresses")
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
    When it is to stop, `drain` runs while the last requests are answered. `on_hangup` is called on
    SIGHUP; None: that ends the process, as by default. `on_hurry` is called on a second Ctrl-C, and
    is to end what `drain` waits for. `on_stopped` is called when everything has been stopped.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        until_ready: Callable[[], Awaitable[object]],
        on_ready: Callable[[str], None],
        drain: Callable[[], Coroutine[None, None, None]],
        on_hangup: Callable[[], None] | None = None,
        on_stopped: Callable[[], None] = lambda: None,
        on_hurry: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._until_ready = until_ready
        self._on_ready = on_ready
        self._drain = drain
        self._on_hangup = on_hangup
        self._on_stopped = on_stopped
        self._on_hurry = on_hurry
        self._was_hung_up = False  # before it listened
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failure: str | None = None
        """Why the server could not go on, if that is why it stops."""
        self._tasks = Supervised(self.fail)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and announce the address once the server is ready."""
        self._loop = asyncio.get_running_loop()
        try:
            await super().startup(sockets)
        except SystemExit:  # uvicorn has logged why
            log.error(
                "cannot listen on %s, port %s: choose another --port (0: any free one) or --host",
                self.config.host,
                self.config.port,
            )
            raise
        if self.started and self._on_hangup is not None:
            self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
            if self._was_hung_up:
                self._on_hangup()
        if self.started:
            url = self._url()
            log.info("listening on %s; Ctrl-C stops the server", url)
            self._tasks.start("the announcement", self._announce(url), may_return=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and end when the last requests are answered or `drain` gave them up."""
        self._tasks.start("the drain", self._drain(), may_return=True)
        try:
            await super().shutdown(sockets)
        finally:
            self._on_stopped()
            await self._tasks.stop()

    def stop(self, *_: object) -> None:
        """Have it stop, as soon as it has started if it has not yet: a signal's handler."""
        self.should_exit = True

    def hang_up(self, *_: object) -> None:
        """Have it do what it does on SIGHUP, as soon as it listens: a signal's handler."""
        self._was_hung_up = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on the first signal; on a second Ctrl-C, wait for nobody."""
        if self.should_exit and sig == signal.SIGINT and self._loop is not None:
            self._loop.call_soon_threadsafe(self._on_hurry)
        else:
            super().handle_exit(sig, frame)

    def fail(self, reason: str) -> None:
        """End the server, which cannot go on, and say why on standard error."""
        self.failure = self.failure or reason
        self.should_exit = True
        with contextlib.suppress(OSError):  # nobody may read it any more
            print(f"ddpm serve: {reason}", file=sys.stderr)  # noqa: T201

    async def _announce(self, url: str) -> None:
        await self._until_ready()
        if not self.should_exit:
            self._on_ready(url)

    def _url(self) -> str:
        # The socket knows the port: port 0 in the settings means any free one.
        port = self.servers[0].sockets[0].getsockname()[1]
        return local_url(self.config.host, port, "https" if self.config.is_ssl else "http")


def exit_soon(status: int) -> None:
    """End this process in EXIT_SECONDS, unless it has ended by itself before.

    asyncio and Python wait for every thread, and one that waits for a dead disk never ends.
    """

    def end() -> None:
        time.sleep(EXIT_SECONDS)
        log.error("some work does not end, as on a disk that does not answer: it is cut off")
        os._exit(status)

    threading.Thread(target=end, name="exit", daemon=True).start()


def has_files(settings: Settings) -> bool:
    """Are there files that a running server reads again on SIGHUP?"""
    return bool(settings.api_keys_file or settings.tls_certificate)


def read_again(config: uvicorn.Config, settings: Settings, clients: Clients) -> None:
    """Use the keys and the certificate that their files have now; what cannot be used is logged."""
    if settings.api_keys_file:
        clients.reload()
    if config.ssl is None:
        return
    try:
        check_certificate(settings)  # in a context of its own: this one keeps the old one
        load_certificate(config.ssl, settings)
    except (SettingError, OSError) as error:
        log.error("%s: %s; the certificate stays as it was", settings.tls_certificate, error)
        return
    log.info("the certificate is read again")


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
    with contextlib.suppress(OSError):  # the terminal may be closed
        print(f"Ready. Open {url} in a browser.", flush=True)  # noqa: T201


def log_address(url: str) -> None:
    """Log where the page is, for a program that reads only JSON lines."""
    log.info("ready", extra={"url": url})
