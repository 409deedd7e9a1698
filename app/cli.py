"""The command `ddpm`: train, sample, evaluate and export models, serve them, and make API keys.

Each command loads what it needs when it runs, so that `--help` answers at once.
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Callable, Sequence

from diffusion import __version__
from diffusion.folders import MODELS

INTERRUPTED = 130
"""The exit status after Ctrl-C, by the shells' custom: 128 and the signal's number."""
Command = Callable[[argparse.Namespace], None]


def main(argv: list[str] | None = None) -> int:
    """Run `ddpm` with the arguments `argv`, by default the process'. Returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    # Its flags are made of the settings, which the other commands need not load.
    if argv[:1] == ["serve"]:
        try:
            return serve(argv[1:])
        except KeyboardInterrupt:  # while it loads: later the server handles it
            print("ddpm serve: interrupted before it was listening", file=sys.stderr)
            return INTERRUPTED
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.version:
        print(versions())
        return 0
    if args.command is None:
        parser.print_help()
        return 0
    from diffusion.cli import run_command

    return run_command(args)


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command but `serve`, whose flags `app.flags` reads."""
    from diffusion.cli import add_commands

    parser = argparse.ArgumentParser(
        prog="ddpm",
        description="Denoising diffusion probabilistic models: train, sample, evaluate, export and "
        "serve. `ddpm COMMAND --help` explains a command.",
    )
    parser.add_argument(
        "--version",
        action="store_true",
        help="show the versions of ddpm, torch and OpenVINO, and where the built-in models are",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    add_commands(commands)
    _add_server(commands.choices["sample"])
    commands.add_parser("serve", add_help=False, help="Serve models over HTTP.")
    _add_key(commands.add_parser("key", help="Make an API key for a server."))
    return parser


def versions() -> str:
    """The versions of ddpm and of what runs the network, and the folder of the built-in models."""
    lines = [f"ddpm {__version__}"]
    for package in ("torch", "openvino"):
        try:
            version = importlib.metadata.version(package)  # without loading the package
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        lines.append(f"{package} {version}")
    return "\n".join([*lines, f"built-in models {MODELS}"])


def serve(argv: list[str], engine_command: Sequence[str] | None = None) -> int:
    """Run `ddpm serve` until SIGINT or SIGTERM, and return the exit status.

    It is 2 for a setting that is not allowed, and 1 when no engine can ever start. Engines are
    started by `engine_command`; None: by our own.
    """
    from pydantic import ValidationError

    from app.flags import read_settings
    from app.settings import SettingError

    try:
        settings = read_settings(argv)
    except ValidationError as error:
        for found in error.errors():
            name, reason = str(found["loc"][0]), found["msg"].removeprefix("Value error, ")
            _print_refused(name, found["input"], reason)
        return 2

    try:
        if settings.cluster:
            from app.cluster.driver import run as run_cluster

            return run_cluster(settings)
        from app.serve import run

        return run(settings, engine_command)
    except SettingError as error:
        _print_refused(error.name, error.value, str(error))
        return 2


def _print_refused(name: str, value: object, reason: str) -> None:
    """Say on standard error which setting is not allowed; a secret's value is not shown."""
    from app.settings import SECRETS

    shown = "(not shown)" if name in SECRETS else repr(value)
    print(f"ddpm serve: {name}: {shown}: {reason}", file=sys.stderr)


def _add_key(parser: argparse.ArgumentParser) -> None:
    """Give `ddpm key` its arguments."""
    parser.description = (
        "Make a random API key. The key goes to whoever is to use the server; nobody can show it "
        "again. The table goes into the file that DDPM_API_KEYS_FILE names, which a running server "
        "reads again on SIGHUP."
    )
    parser.add_argument(
        "name", metavar="NAME", help="whose key it is, for logs and metrics: letters, digits, ._-"
    )
    parser.add_argument(
        "--admin",
        action="store_true",
        help="let it load and unload models, and read the metrics where they are protected",
    )
    parser.set_defaults(run=make_key)


def make_key(args: argparse.Namespace) -> None:
    """Print a new API key, and its table for the server's file of keys."""
    from app.door.api_keys import make_table

    key, table = make_table(args.name, admin=args.admin)
    print(f"The key, for {args.name} alone:\n\n{key}\n\nThe table, for the server:\n\n{table}")


def _add_server(parser: argparse.ArgumentParser) -> None:
    """Give `ddpm sample` the flag --server, with which a server makes the images."""
    parser.add_argument(
        "--server",
        metavar="URL",
        help="let this server make the images: CHECKPOINT is the name of a model that it serves, "
        "--batch-size the images in one request, and its API key, if it needs one, is read from "
        "DDPM_API_KEY",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="with --server, the model's name there, instead of CHECKPOINT",
    )
    sample_here: Command = parser.get_default("run")

    def sample(args: argparse.Namespace) -> None:
        if args.server and args.checkpoint is None and args.model is None:
            parser.error("the model is missing: name it as CHECKPOINT, or with --model")
        if args.server is None and args.model:
            parser.error("--model is for --server: name the model as CHECKPOINT")
        if args.server is None:
            sample_here(args)
        else:
            from app.client.cli import sample as sample_there

            sample_there(args)

    parser.set_defaults(run=sample)


if __name__ == "__main__":
    sys.exit(main())
