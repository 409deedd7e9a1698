"""The command `ddpm`: train, sample, evaluate and export from the science, and serve."""

import argparse
import logging
import signal
import sys

import uvicorn
from pydantic import ValidationError

from app.main import create_app
from app.settings import Settings


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
    commands.add_parser("serve", add_help=False, help="Serve a model over HTTP.")
    return cli.run_command(parser.parse_args(argv))


def serve(argv: list[str]) -> int:
    """`ddpm serve`: until SIGINT or SIGTERM. Status 2 for a wrong setting, 1 when no engine can
    start."""
    try:
        settings = Settings(_cli_parse_args=argv, _cli_prog_name="ddpm serve")
    except ValidationError as error:
        for found in error.errors():
            name = "_".join(map(str, found["loc"]))
            print(f"ddpm serve: {name}: {found['input']!r}: {found['msg']}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:     %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells each start of its workings
    app = create_app(settings, on_unusable=lambda reason: stop(server, reason))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            timeout_graceful_shutdown=settings.shutdown_seconds,
            server_header=False,
        )
    )
    app.state.is_stopping = lambda: server.should_exit
    for stopping in (signal.SIGINT, signal.SIGTERM):
        # uvicorn shuts down on these, then raises them again: this time they mean nothing.
        signal.signal(stopping, lambda *_: None)
    server.run()
    return 1 if app.state.supervisor.unusable else 0


def stop(server: uvicorn.Server, reason: str) -> None:
    """End the server: its engine can never start."""
    print(f"ddpm serve: {reason}", file=sys.stderr)
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
