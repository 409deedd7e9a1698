"""The projects that can be imported, and their flags: two lists of the same names."""

from diffusion.importing.projects import PROJECTS
from tests.diffusion.importing.test_flags import parsers


def test_every_project_has_flags() -> None:
    assert PROJECTS.keys() == parsers().keys()


def test_every_project_has_an_address() -> None:
    addresses = {project.repository for project in PROJECTS.values()}
    assert len(addresses) == len(PROJECTS)
    assert all(address.startswith("https://github.com/") for address in addresses)
