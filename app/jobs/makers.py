"""Who makes a job's bytes: jobs name their model by its weights, not by what it is called."""

from collections.abc import Iterable

from app.pool.models import Models
from app.pool.version import Version
from app.wire.messages import ModelInfo


def maker(model: ModelInfo) -> str:
    """Who makes the same bytes: the weights and what else of the checkpoint decides, and how and on
    what kind of device they are run."""
    return f"{model.sha256} {model.fingerprint} {model.runtime} {model.precision} {_device(model)}"


def makers(model: ModelInfo) -> tuple[str, str]:
    """The maker, and what it was called in the rows of servers that had one model each."""
    old = f"{model.name} {model.sha256} {model.runtime} {model.precision} {_device(model)}"
    return maker(model), old


def versions_by_maker(versions: Iterable[Version]) -> dict[str, Version]:
    """The version that makes the bytes of each maker; of several, the first."""
    found: dict[str, Version] = {}
    for version in versions:
        for name in () if version.known is None else makers(version.known):
            found.setdefault(name, version)
    return found


def version_for(made_by: str, models: Models) -> Version | None:
    """The version that can go on with what this maker began; None: this server has none."""
    return versions_by_maker(models.versions).get(made_by)


def _device(model: ModelInfo) -> str:
    return model.device.partition(":")[0]
