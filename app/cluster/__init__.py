"""Engines on several machines, by Ray Serve: `serve run app.cluster:application`.

Two deployments: `engines`, whose replicas hold engine processes wherever there is room for them,
and `server`, the API process with its pool, which gives those engines work and gets their events.
What is in flight on a replica, node or process that dies, another engine does: the pool sees to
that, and not Ray. Imports no torch; needs the extra `cluster`.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`application`, for Ray Serve. Ray is imported when that is asked for: the driver sets up its
    environment before."""
    if name != "application":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from app.cluster.deployments import application

    return application
