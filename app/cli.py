"""The command `ddpm`: train, sample, evaluate and export from the science, and serve."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import uvicorn
from pydantic import SecretStr, ValidationError

from app import logs
from app.client.cli import add_server
from app.http.uvicorn_protocol import patient_protocol
from app.main import create_app
from app.pool.engine_process import COMMAND
from app.settings import Settings, unknown_variables

SECRETS = {name for name, kind in Settings.model_fields.items() if kind.annotation is SecretStr}
LAST_WORDS_SECONDS = 5
"""For the answers to those whose requests are given up at shutdown."""
log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Run `ddpm`; the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["serve"]:
        return serve(argv[1:])
    from diffusion import cli  # loads torch, which serve's process does without

    parser = argparse.ArgumentParser(
        prog="ddpm", description="Denoising diffusion probabilistic models: train, sample, serve."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    cli.add_commands(commands)
    add_server(commands.choices["sample"])
    commands.add_parser("serve", add_help=False, help="Serve a model over HTTP.")
    return cli.run_command(parser.parse_args(argv))


def serve(argv: list[str], engine_command: Sequence[str] = COMMAND) -> int:
    """`ddpm serve`: until SIGINT or SIGTERM. Status 2 for a wrong setting, 1 when no engine can
    start."""
    try:
        settings = Settings(_cli_parse_args=argv, _cli_prog_name="ddpm serve")
    except ValidationError as error:
        for found in error.errors():
            name = "_".join(map(str, found["loc"]))
            given = "(not shown)" if name in SECRETS else repr(found["input"])
            print(f"ddpm serve: {name}: {given}: {found['msg']}", file=sys.stderr)
        return 2
    logs.configure(settings.log_format)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells each start of its workings
    for name in unknown_variables(os.environ):
        log.warning("the variable %s is set, and is no setting: ddpm serve --help lists them", name)
    app = create_app(settings, lambda reason: stop(server, reason), engine_command)
    server = Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            timeout_graceful_shutdown=settings.shutdown_seconds + LAST_WORDS_SECONDS,
            server_header=False,
            http=patient_protocol(settings.body_seconds),
            access_log=False,  # app.http.access_log writes those lines
            log_config=None,
            reset_contextvars=True,  # else a pipelined request would find its predecessor's
        ),
        until_ready=app.state.services.supervisor.has_been_ready.wait,
        drain=lambda: app.state.services.supervisor.drain(settings.shutdown_seconds),
        on_ready=log_address if settings.log_format == "json" else print_address,
    )
    for stopping in (signal.SIGINT, signal.SIGTERM):
        # uvicorn shuts down on these, then raises them again: this time they mean nothing.
        signal.signal(stopping, lambda *_: None)
    server.run()
    return 1 if app.state.services.supervisor.unusable else 0


class Server(uvicorn.Server):
    """Calls `on_ready` with the page's address once it listens and `until_ready` is over: the
    terminal's last line before the first request's. When it is to stop, `drain` runs beside the
    last requests."""

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
        self._greeting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._greeting = asyncio.create_task(self._greet())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        draining = asyncio.create_task(self._drain())
        await super().shutdown(sockets)
        draining.cancel()

    async def _greet(self) -> None:
        await self._until_ready()
        # The port is the socket's: the setting may be 0, any free one.
        port = self.servers[0].sockets[0].getsockname()[1]
        self._on_ready(page_url(self.config.host, port))


def print_address(url: str) -> None:
    """For a person at a terminal."""
    print(f"Ready. Open {url} in a browser.", flush=True)


def log_address(url: str) -> None:
    """For a log reader, who wants one JSON object a line and nothing else."""
    log.info("ready", extra={"url": url})


def page_url(host: str, port: int) -> str:
    """The playground's address, as a browser on this machine reaches it."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    host = everywhere.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def stop(server: uvicorn.Server, reason: str) -> None:
    """End the server: its engine can never start."""
    print(f"ddpm serve: {reason}", file=sys.stderr)
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
