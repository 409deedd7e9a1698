"""Which engines make which samples of a job: it should be done as soon as can be."""

import dataclasses
import heapq
from collections.abc import Callable, Sequence

from app.pool.engine import Engine
from app.pool.fleet import Fleet
from app.pool.pace import backlog_seconds, full_batch, seconds_alone
from app.wire.messages import Submit

Share = Callable[[Submit, Sequence[Engine]], list[tuple[Engine, Submit]]]
"""Says which engines make a job, of the candidates, and which part each."""
CANDIDATES = 16
"""Engines that are looked at closely, at least, where there are so many."""


def candidates(submit: Submit, fleet: Fleet) -> Sequence[Engine]:
    """The engines that are worth a closer look, which takes long where there are a thousand."""
    return fleet.soonest(submit, max(CANDIDATES, len(submit.indices)))


def share(submit: Submit, engines: Sequence[Engine]) -> list[tuple[Engine, Submit]]:
    """Each engine that makes a part of a job, and that part: neighbouring samples.

    One full batch after another goes to the engine that would be done with it soonest, after what
    it has. So a part is never smaller than what its engine computes at once, unless the whole job
    is, and no engine runs emptier because of the others. `engines` are the candidates.
    """
    n = len(submit.indices)
    waits = [backlog_seconds(engine) for engine in engines]
    counts = [0] * len(engines)

    def done(place: int, left: int) -> float:
        """Seconds until this engine would be done, had it the next batch, too."""
        engine = engines[place]
        info = engine.loads.known[submit.model]
        more = counts[place] + _next_batch(engine, submit, left)
        return waits[place] + seconds_alone(info, submit, more)

    queue = [(done(place, n), place) for place in range(len(engines))]
    heapq.heapify(queue)
    left = n
    while left:
        _, place = queue[0]
        batch = _next_batch(engines[place], submit, left)
        counts[place] += batch
        left -= batch
        heapq.heapreplace(queue, (done(place, left), place))
    return _parts(submit, engines, counts)


def _next_batch(engine: Engine, submit: Submit, left: int) -> int:
    """How many of the samples that are `left` an engine is given next: a full batch, with what is
    too little to be another."""
    size = full_batch(engine, submit)
    return size if left >= 2 * size else left


def _parts(
    submit: Submit, engines: Sequence[Engine], counts: Sequence[int]
) -> list[tuple[Engine, Submit]]:
    """The job cut into so many samples for each engine, in the engines' order."""
    given = [(engine, count) for engine, count in zip(engines, counts, strict=True) if count]
    if len(given) == 1:
        return [(given[0][0], submit)]
    parts, first = [], 0
    for number, (engine, count) in enumerate(given):
        part = submit.only(range(first, first + count))
        parts.append((engine, dataclasses.replace(part, id=f"{submit.id}.{number}")))
        first += count
    return parts
