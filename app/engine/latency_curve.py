"""The latency curve: how long a step takes by its batch size. Arithmetic only: `app.engine.warmup`
measures the figures when an engine starts."""

from collections.abc import Mapping

KNEE = 0.99
"""Of the best rows/s: what a batch size must reach to be the largest that is used."""


class LatencyCurve:
    """Seconds of a step for each batch size that exists; other batches are padded to the next."""

    def __init__(self, seconds_by_size: Mapping[int, float]) -> None:
        self._seconds = dict(sorted(seconds_by_size.items()))
        self.sizes = tuple(self._seconds)
        self.max_rows = self.sizes[-1]
        # Looked up many times a step: by the number of rows, from 0.
        all_rows = range(1, self.max_rows + 1)
        self._padded = [0.0, *(self._seconds_padded(rows) for rows in all_rows)]
        self._best = [0, *(self._best_rows(rows) for rows in all_rows)]
        self._rates = [0.0, *(best / self._padded[best] for best in self._best[1:])]

    @property
    def seconds_per_row(self) -> float:
        """Seconds that a row takes in full batches."""
        return self._seconds[self.max_rows] / self.max_rows

    def seconds(self, rows: int) -> float:
        """Seconds of a step of so many rows, 1 .. max_rows."""
        return self._padded[rows]

    def best_rows(self, rows: int) -> int:
        """How many of `rows` rows to advance at once so that most gets done: all of them, or as
        many as fill a batch without padding."""
        return self._best[min(rows, self.max_rows)]

    def rate(self, rows: int) -> float:
        """Rows a second, at best, with `rows` rows that could advance."""
        return self._rates[min(rows, self.max_rows)]

    def _seconds_padded(self, rows: int) -> float:
        return self._seconds[next(size for size in self.sizes if size >= rows)]

    def _best_rows(self, rows: int) -> int:
        filled = [size for size in self.sizes if size < rows]
        return max([*filled, rows], key=lambda n: (n / self.seconds(n), n))

    def up_to(self, max_rows: int) -> "LatencyCurve":
        """The curve without the sizes above `max_rows`. Where all sizes are above it, a step of
        `max_rows` rows takes as long as one of the smallest."""
        kept = {size: s for size, s in self._seconds.items() if size <= max_rows}
        return LatencyCurve(kept or {max_rows: self.seconds(max_rows)})

    def up_to_the_knee(self) -> "LatencyCurve":
        """The curve of the sizes worth having: up to the smallest with KNEE of the best rows/s.

        Beyond it a larger batch makes everyone in it wait longer and gets no more done. At least
        two rows, where there are: a guided chain takes them at once.
        """
        best = max(size / seconds for size, seconds in self._seconds.items())
        knee = next(n for n, s in self._seconds.items() if n / s >= KNEE * best)
        return self.up_to(max(knee, 2))
