"""The engines that are given work: which of them have a model, and which are done soonest."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from app.pool.engine import Engine
from app.pool.makers import can_go_on
from app.pool.pace import backlog_seconds
from app.wire.messages import Submit

Values = npt.NDArray[np.float64]
"""One for each engine."""


class Fleet:
    """The engines of a pool, which may come and go.

    A thousand of them are compared for every request, so what is compared is kept in arrays. An
    engine is looked at anew only where its jobs or models have changed since the last question.
    """

    def __init__(self) -> None:
        self.engines: list[Engine] = []
        self.retired: list[Engine] = []  # which do what they have, and get no more
        self._changed: set[Engine] = set()  # whose `_seconds` may be others now
        self._places: dict[Engine, int] = {}
        self._seconds: Values = np.zeros(0)  # in which each does what it has
        # By model and maker; infinite where it has not got the one or is not the other
        self._row_seconds: dict[tuple[str, str | None], Values] = {}
        self._holders: Counter[str] = Counter()  # engines that have jobs of a client

    @property
    def all(self) -> list[Engine]:
        """The engines that get work, and the retired ones."""
        return [*self.engines, *self.retired]

    def add(self, engine: Engine) -> None:
        """Compare an engine with the others from now on."""
        self.engines.append(engine)
        engine.tally.on_change = partial(self._changed.add, engine)
        engine.tally.on_client = self._count
        engine.loads.on_change = partial(self._note_models, engine)
        self._holders.update(engine.tally.clients.keys())
        self._look_anew()

    def retire(self, engine: Engine) -> None:
        """Choose an engine no more."""
        if engine in self.engines:
            self.engines.remove(engine)
            self.retired.append(engine)
            self._look_anew()

    def remove(self, engine: Engine) -> None:
        """Forget an engine."""
        self.retire(engine)
        self.retired.remove(engine)
        self._look_anew()

    def have_all(self, model: str) -> bool:
        """Can every engine take steps of a model now?"""
        return bool(np.isfinite(self._of(model)).all())

    def soonest(self, submit: Submit, most: int) -> list[Engine]:
        """The engines, `most` at most, that should be done with a whole job soonest, in full
        batches, of those that can take its steps now; in their order."""
        done = self._busy() + submit.cost * self._of(submit.model, submit.made_by)
        return [self.engines[place] for place in smallest(done, most)]

    def least_busy(self, model: str, made_by: str | None = None) -> Engine | None:
        """The engine that is done first with what it has, of those that can take steps of a model
        now and make the bytes of this maker."""
        has_model = np.isfinite(self._of(model, made_by))
        if not has_model.any():
            return None
        return self.engines[np.where(has_model, self._busy(), np.inf).argmin()]

    def most_busy(self, model: str) -> Engine | None:
        """The engine that is done last with what it has, of those that can take steps of a model
        now."""
        has_model = np.isfinite(self._of(model))
        if not has_model.any():
            return None
        return self.engines[np.where(has_model, self._busy(), -np.inf).argmax()]

    def num_with(self, client: str) -> int:
        """Engines that have jobs of a client, retired ones, too."""
        return self._holders[client]

    def _count(self, client: str, more: int) -> None:
        self._holders[client] += more
        if not self._holders[client]:
            del self._holders[client]

    def _note_models(self, engine: Engine) -> None:
        self._changed.add(engine)
        self._row_seconds.clear()

    def _look_anew(self) -> None:
        """Look at every engine again: they are others, or in other places."""
        self._places = {engine: place for place, engine in enumerate(self.engines)}
        self._seconds = np.zeros(len(self.engines))
        self._changed.update(self.engines)
        self._row_seconds.clear()

    def _busy(self) -> Values:
        """Seconds in which each engine does what it has."""
        for engine in self._changed:
            if engine in self._places:  # else it is retired
                self._seconds[self._places[engine]] = backlog_seconds(engine)
        self._changed.clear()
        return self._seconds

    def _of(self, model: str, made_by: str | None = None) -> Values:
        """Seconds that a row of a model takes each engine; infinite where it cannot take steps of
        it now, or makes other bytes than this maker."""
        if (model, made_by) not in self._row_seconds:
            found = [_row_seconds(engine, model, made_by) for engine in self.engines]
            self._row_seconds[model, made_by] = np.array(found, np.float64)
        return self._row_seconds[model, made_by]


def smallest(values: Values, most: int) -> Sequence[int]:
    """The places of the finite values, in order; of the smallest ones where they are more than
    `most`, and of equals the first."""
    places = np.flatnonzero(np.isfinite(values))
    if len(places) > most:
        bound = np.partition(values, most - 1)[most - 1]
        below, level = np.flatnonzero(values < bound), np.flatnonzero(values == bound)
        places = np.sort(np.concatenate([below, level[: most - len(below)]]))
    found: list[int] = places.tolist()
    return found


def _row_seconds(engine: Engine, model: str, made_by: str | None) -> float:
    if not engine.serves(model):
        return math.inf
    info = engine.loads.known[model]
    return info.seconds_per_row if can_go_on(made_by, info) else math.inf
