"""From a source, as a user or a client gives it, to the folder that is opened."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from diffusion.fields import MAX_SHOWN
from diffusion.folders import MODELS
from diffusion.sources.errors import CheckpointError
from diffusion.sources.hub_cache import repository_of
from diffusion.sources.hub_fetch import Hub
from diffusion.sources.hub_files import MAX_WEIGHTS_BYTES
from diffusion.sources.hub_id import PREFIX, HubId

HUB_PAGE = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)", re.ASCII)
"""A model's page on the Hub, whose address people copy."""


@dataclass(frozen=True)
class Location:
    """Where a checkpoint is, and where it came from."""

    folder: Path
    source: str  # as it was given
    origin: str | None = None  # a built-in name, or the repository on the Hub; None: a folder
    revision: str | None = None  # the commit on the Hub

    @property
    def pinned(self) -> str | None:
        """The origin with its revision, which names the same files for ever; None: a folder."""
        return self.origin and (f"{self.origin}@{self.revision}" if self.revision else self.origin)

    @property
    def name(self) -> str:
        """What to call a model that has no name on its card."""
        return self.origin.split("/")[-1] if self.origin else self.folder.resolve().name


def find_checkpoint(
    source: str | Path, max_bytes: int = MAX_WEIGHTS_BYTES, hub: Hub | None = None
) -> Location:
    """Find a built-in name, such as `mnist`, a folder, or a model of the Hub, such as
    `google/ddpm-cifar10-32@main`, which is fetched into its cache where it is not there.

    A folder of that name that is here, under the working directory, comes before the Hub's; `hf:`
    before it says that the Hub's is meant. A Path is always a folder. `hub` is asked; None: the
    user's. Raises CheckpointError where there is nothing, or no more than `max_bytes` may be
    fetched.
    """
    folder = Path(source)
    if str(source) in built_in_models():
        return Location(MODELS / folder, str(source), origin=str(source))
    # os.path takes a name that no disk can hold for one that is not there, and pathlib "" for "."
    if not str(source).startswith(PREFIX) and os.path.isdir(source):
        origin, commit = repository_of(folder) or (None, None)
        return Location(folder, str(source), origin, commit)
    hub_id = HubId.parse(source) if isinstance(source, str) else None
    if hub_id is None or os.path.isfile(source):
        raise _nowhere(str(source))
    return _fetch(hub_id, str(source), max_bytes, hub)


def _nowhere(source: str) -> CheckpointError:
    """The refusal of what is neither a folder nor a name, with the name that may be meant."""
    shown = source if len(source) <= MAX_SHOWN else f"{source[:MAX_SHOWN]}…"
    page = HUB_PAGE.match(source)
    if page is not None:
        return CheckpointError(f"{shown}: an address", f"name the model itself: {page[1]}")
    if source.startswith(PREFIX):
        return CheckpointError(f"{shown}: not {PREFIX}owner/name[@revision] of a model on the Hub")
    if os.path.isfile(source):
        return CheckpointError(
            f"{shown}: a file; a checkpoint is a folder, with unet/config.json and its weights",
            "name that folder; of a file of another project, `ddpm import` makes one",
        )
    known = ", ".join(built_in_models())
    return CheckpointError(f"{shown}: no such folder, and not a built-in model ({known})")


def resolve(
    source: str,
    allowed: Collection[str] = (),
    named: Collection[str] = (),
    max_bytes: int = MAX_WEIGHTS_BYTES,
    hub: Hub | None = None,
) -> Location:
    """Find a checkpoint that a client asks a server for; it may take as long as a download.

    It may be a built-in name, one of the sources that the operator has `named`, or a model of the
    Hub whose repository is one of the patterns `allowed`, such as `google/*`. Raises
    CheckpointError, whose message a client may read, for any other: whether it is there or not.
    """
    if source in named:
        return find_checkpoint(source, max_bytes, hub)
    if source in built_in_models():
        return find_checkpoint(source)
    hub_id = HubId.parse(source)
    if hub_id is None:
        known = ", ".join(built_in_models())
        shown = source if len(source) <= MAX_SHOWN else f"{source[:MAX_SHOWN]}…"
        raise CheckpointError(
            f"{shown}: not a built-in model ({known}), nor one that was named when the server "
            "started, nor owner/name of a model on the Hugging Face Hub"
        )
    if not any(fnmatchcase(hub_id.repository, pattern) for pattern in allowed):
        shown = ", ".join(allowed) or "none"
        raise CheckpointError(
            f"{source}: this server may load these models of the Hub: {shown} (its setting "
            "hub_allow)"
        )
    return _fetch(hub_id, source, max_bytes, hub)


def _fetch(hub_id: HubId, source: str, max_bytes: int, hub: Hub | None) -> Location:
    try:
        folder, commit = (hub or Hub.of_user()).fetch(hub_id, max_bytes)
    except CheckpointError as error:
        if source.startswith(PREFIX):
            raise
        reason = f"{source}: no such folder here; {error.reason}"
        raise CheckpointError(reason, error.remedy) from error
    return Location(folder, source, hub_id.repository, commit)


def built_in_models() -> list[str]:
    """The names of the models that come with the package."""
    return sorted(path.parent.name for path in MODELS.glob("*/model_index.json"))
