"""How long an engine takes for its work, by the speeds that it measured when it was warmed up."""

import math
from collections.abc import Mapping, Sequence

from app.pool.engine import Engine
from app.wire.messages import Submit
from app.wire.model_info import ModelInfo


def backlog_seconds(engine: Engine) -> float:
    """Seconds in which an engine does what it has, about, in full batches."""
    rows, known = engine.tally.rows, engine.loads.known
    if not rows:
        return 0.0
    return sum([n * known[model].seconds_per_row for model, n in rows.items() if model in known])


def seconds_together(rows: Mapping[str, int], engines: Sequence[Engine]) -> float:
    """Seconds in which engines do so many network rows of each model, all of them at once."""
    return sum(count / rate for model, count in rows.items() if (rate := _rate(model, engines)))


def _rate(model: str, engines: Sequence[Engine]) -> float:
    """Network rows of a model a second, of all these engines."""
    known = (engine.loads.known.get(model) for engine in engines)
    return sum(1 / info.seconds_per_row for info in known if info and info.seconds_per_row)


def seconds_alone(info: ModelInfo, submit: Submit, n: int) -> float:
    """Seconds for `n` samples of a job on an engine that does nothing else."""
    rows = n * submit.chain_rows
    at_once = math.ceil(rows / max(1, submit.steps))
    size = next((size for size in info.batch_sizes if size >= at_once), None)
    if size is None or str(size) not in info.step_seconds:  # several batches one after another
        return rows * info.seconds_per_row
    return submit.steps * info.step_seconds[str(size)]


def full_batch(engine: Engine, submit: Submit) -> int:
    """Samples of a job that make one full batch of an engine."""
    rows_at_once = math.ceil(submit.chain_rows / max(1, submit.steps))
    return max(1, engine.loads.max_batch(submit.model) // rows_at_once)
