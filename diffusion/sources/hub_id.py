"""Names of models on the Hugging Face Hub, as `google/ddpm-cifar10-32@main`."""

import re
from dataclasses import dataclass

PREFIX = "hf:"
PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
REPOSITORY = re.compile(rf"{PART}/{PART}")
REVISION = re.compile(r"[A-Za-z0-9_][\w.-]*(?:/[A-Za-z0-9_][\w.-]*)*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
PATTERN = re.compile(r"[A-Za-z0-9_.*?-]+/[A-Za-z0-9_.*?-]+")
MAX_REVISION = 200
"""Characters of a branch or tag."""


@dataclass(frozen=True)
class HubId:
    """A model of the Hub: its repository `owner/name`, and a branch, tag or commit; None: main."""

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubId | None":
        """Read `owner/name`, with `@revision` behind and `hf:` before it or without; None for a
        text that cannot be one."""
        repository, at, revision = text.removeprefix(PREFIX).partition("@")
        is_name = REPOSITORY.fullmatch(repository) and not re.search(r"--|\.\.", repository)
        if not is_name or repository.endswith(".git"):
            return None
        if at and (len(revision) > MAX_REVISION or not REVISION.fullmatch(revision)):
            return None
        if ".." in revision:  # git allows none, and it would lead out of the cache's folder
            return None
        return cls(repository, revision or None)

    @property
    def is_pinned(self) -> bool:
        """Is the revision a whole commit, which never means anything else?"""
        return self.revision is not None and bool(COMMIT.fullmatch(self.revision))

    @property
    def branch(self) -> str:
        """The branch, tag or commit that is meant."""
        return self.revision or "main"

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


def check_pattern(pattern: str) -> str:
    """Return a pattern of repositories, such as `google/*`. Raises ValueError where it is none."""
    if not PATTERN.fullmatch(pattern):
        raise ValueError(
            f"{pattern!r} is not a pattern of the Hub's models, owner/name, in which * stands for "
            "any text and ? for any character"
        )
    return pattern
