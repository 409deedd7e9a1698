"""`python -m diffusion train|sample|evaluate|export`: the commands that need no web server."""

import argparse
import sys

from diffusion import cli

parser = argparse.ArgumentParser(prog="python -m diffusion", description=cli.__doc__)
cli.add_commands(parser.add_subparsers(required=True, metavar="command"))
sys.exit(cli.run_command(parser.parse_args()))
