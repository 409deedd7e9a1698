"""How long a step takes on an engine, by its rows: as it was measured."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.engine.latency_curve import LatencyCurve


@dataclass(frozen=True)
class Machine:
    """One engine's device: seconds of a step by batch size with all lanes at work, and where they
    were measured."""

    name: str
    step_seconds: dict[int, float]
    lanes: int
    source: str

    @cached_property
    def curve(self) -> LatencyCurve:
        """The curve that the engine's scheduler goes by."""
        return LatencyCurve(self.step_seconds)

    @property
    def rows_per_second(self) -> float:
        """Network rows a second in full batches."""
        return 1 / self.curve.seconds_per_row


MACHINES = {
    "cpu": Machine(
        "cpu",
        {1: 0.00406, 2: 0.00527, 4: 0.00698, 8: 0.0115, 16: 0.0222},
        lanes=2,
        source="models/mnist in bfloat16, `step_seconds` of GET /model: two cores of an AMD EPYC "
        "(family 25, model 17: Zen 4), runtime openvino",
    ),
    "h200": Machine(
        "h200",
        {32: 2 / 905},
        lanes=2,
        source="models/mnist in float32 on one NVIDIA H200, 905 steps a second of 16 rows in two "
        "lanes (docs/performance.md), the only size that was measured",
    ),
}
"""Those that `--machines` knows by name."""


def machine(name: str) -> Machine:
    """The machine of a name, or of a file with the answer of GET /model. Raises ValueError where it
    is neither."""
    if name in MACHINES:
        return MACHINES[name]
    path = Path(name)
    if not path.is_file():
        known = ", ".join(MACHINES)
        raise ValueError(f"{name!r}: it must be {known}, or a file with the answer of GET /model")
    try:
        model = json.loads(path.read_text())
        seconds = {int(rows): float(taken) for rows, taken in model["step_seconds"].items()}
        if not seconds or min(seconds) < 1 or not min(seconds.values()) > 0:
            raise ValueError("its step_seconds are no times of batch sizes")
        lanes = 2 if model["device"] == "cpu" else 1
        return Machine(path.stem, seconds, lanes, f"{model['name']} on {model['device']}, {path}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{name!r}: it is no answer of GET /model: {error!r}") from None
