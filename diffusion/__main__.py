"""`python -m diffusion train|sample|evaluate|export`: the commands that need no web server."""

import argparse
import sys

from diffusion import cli


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status; argparse ends the process for wrong flags."""
    parser = argparse.ArgumentParser(prog="python -m diffusion", description=cli.SUMMARY)
    cli.add_commands(parser.add_subparsers(required=True, metavar="command"))
    return cli.run_command(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
