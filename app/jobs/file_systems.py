"""The file systems that fsspec makes for results: whoever does not answer is given up in time."""

import contextlib
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.config import conf

BUCKETS = ("s3", "s3a")
"""Where a path begins with a bucket, which is there or not: this service makes none."""
TRIES = 2
"""Times that s3fs begins a call of S3, each of which boto tries ATTEMPTS times."""
ATTEMPTS = 2
S3: Mapping[str, Any] = {
    "max_concurrency": 1,  # a sample is read by one request
    "use_listings_cache": False,  # other servers write, too
    "config_kwargs": {
        "connect_timeout": 5,
        "read_timeout": 10,
        "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
    },
}
"""What s3fs is told where fsspec's own configuration says nothing else. Without it a store that
does not answer would hold a call for half an hour."""


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL or path, and the path in it.

    Raises ImportError where fsspec lacks a package for it, ValueError for a URL of no kind.
    """
    options = {**S3, **conf.get("s3", {})} if url.partition("://")[0] in BUCKETS else {}
    found: tuple[Any, str] = fsspec.url_to_fs(url, **options)
    if options:
        found[0].retries = TRIES
    return found


def has_buckets(files: Any) -> bool:
    """Whether its paths begin with a bucket."""
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    return not set(BUCKETS).isdisjoint(protocols)


def renew(files: Any) -> None:
    """Read the credentials of an object store again."""
    if has_buckets(files):
        with contextlib.suppress(Exception):  # the next call says what is wrong
            files.connect(refresh=True)
