"""How many replicas there should be: as many as do the work that waits in a given time."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext


class BacklogPolicy:
    """A policy of Ray's autoscaler: so many engines that each has `target_seconds` of work."""

    def __init__(self, target_seconds: float) -> None:
        """`target_seconds` of work are enough for one engine."""
        self._target_seconds = target_seconds

    def __call__(self, context: "AutoscalingContext") -> tuple[int, dict[str, Any]]:
        """The number of replicas that there should be, and what to remember: nothing."""
        seconds = sum((context.aggregated_metrics or {}).get("backlog_seconds", {}).values())
        wanted = math.ceil(seconds / self._target_seconds)
        least, most = (
            context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
        )  # fmt: skip
        return min(max(wanted, least), most), {}
