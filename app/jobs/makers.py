"""Which version of which model goes on with a job: the one whose bytes it was begun with."""

from app.pool.makers import has_weights_of, names
from app.pool.models import Models
from app.pool.version import Version


def versions_by_maker(models: Models) -> dict[str, Version]:
    """The version that makes the bytes of each maker, where its engines do now; of several, the
    first."""
    found: dict[str, Version] = {}
    for version in models.versions:
        for info in models.kinds(version):
            for name in names(info):
                found.setdefault(name, version)
    return found


def version_for(made_by: str, models: Models) -> Version | None:
    """The version that has the weights with which this maker began, on whatever kind of machine;
    None: this server has none."""
    for version in models.versions:
        if version.known is not None and has_weights_of(made_by, version.known):
            return version
    return None
