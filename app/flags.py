"""The command line of `ddpm serve`: a flag for each setting, under the heading of its group."""

import argparse
import re
from typing import Any

from pydantic_settings import CliSettingsSource

from app.environment import PREFIX
from app.settings import GROUPS, Settings

METAVARS = {
    "str": "TEXT",
    "list[str]": "TEXT",
    "int": "N",
    "float": "N",
    "bool": "{true,false}",
    "Path": "FOLDER",
    "SecretStr": "TEXT",
}
"""How the help shows a value, by the name of the setting's type."""


def read_settings(argv: list[str]) -> Settings:
    """The settings that the flags `argv` and the environment give; a flag wins over its variable.

    Raises pydantic.ValidationError for a value that is not allowed. Ends the process after --help
    (status 0) and for a flag that does not exist (status 2).
    """
    parser = argparse.ArgumentParser(
        prog="ddpm serve",
        usage="%(prog)s [--FLAG VALUE ...]",
        description="Serve models over HTTP. Each flag has an environment variable too: "
        f"{PREFIX}PORT sets --port. A flag wins over its variable.",
        allow_abbrev=False,
    )
    if argv and not argv[0].startswith("-"):
        parser.error(f"{argv[0]!r} is no flag; to serve a checkpoint: --checkpoint {argv[0]}")
    group_of = {}
    for title, settings in GROUPS.items():
        group = parser.add_argument_group(title, settings.__doc__)
        group_of.update(dict.fromkeys(settings.model_fields, group))

    def add_flag(_: argparse.ArgumentParser, *flags: str, **options: Any) -> None:
        if "metavar" in options:  # a flag without a value has none
            options["metavar"] = METAVARS.get(options["metavar"], options["metavar"])
        options["help"] = plain_default(options["help"])
        group_of[options["dest"]].add_argument(*flags, **options)

    source: CliSettingsSource[argparse.ArgumentParser] = CliSettingsSource(
        Settings, root_parser=parser, add_argument_method=add_flag
    )
    return Settings(_cli_settings_source=source(args=argv))


def plain_default(text: str) -> str:
    """A flag's help with its default as people write it."""
    text = re.sub(r" \(default: (null)?\)$", "", text)
    return re.sub(r"\(default: \['(.*)'\]\)$", r"(default: \1)", text)
