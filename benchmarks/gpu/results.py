"""Results of a GPU session, read back: a line of JSON each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

Result = Mapping[str, Any]
"""What one line says: `step`, `kind`, and what was measured."""


@dataclass(frozen=True)
class Results:
    """All results of a session, in the order in which they were measured."""

    lines: Sequence[Result]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read results.jsonl. A line that was cut in the middle is left out."""
        found = []
        for line in path.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return cls(found)

    def latest(self, kind: str, keys: Sequence[str] = ()) -> list[Result]:
        """Of each kind of thing the last result: one for each value of the keys, in the order in
        which they first came."""
        found: dict[tuple[str, ...], Result] = {}
        for result in self.lines:
            if result["kind"] == kind:
                found[tuple(str(result.get(key)) for key in keys)] = result
        return list(found.values())

    def best(self, kind: str, value: str, **which: object) -> float | None:
        """The largest `value` of the results of a kind whose fields are as in `which`; None where
        there is none."""
        values = [
            result[value] for result in self.lines
            if result["kind"] == kind and all(result.get(k) == v for k, v in which.items())
            and result[value] is not None
        ]  # fmt: skip
        return max(values, default=None)

    def peak(self, precision: str) -> float | None:
        """FLOP/s of the card's matrix units."""
        return self.best("peak", "flops", precision=precision)
