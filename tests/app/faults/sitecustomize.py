"""Faults for a real engine process: Python imports this at start where PYTHONPATH leads here.

FAULT names what goes wrong, and with what number: `crash=SEED`, `hang=SEED`, `nan=SEED`,
`memory=ROWS`, `late=SECONDS`, `clock=SEED`. Nothing of the service knows of it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import math
import os
import random
import sys
import time
from types import ModuleType
from typing import Any

FAULT, _, NUMBER = os.environ.get("FAULT", "").partition("=")
AT_POSITION = 3


def break_runner(module: ModuleType) -> None:
    """Wrap the parts of a step of `app.engine.runner.Runner`."""
    import torch

    Runner = module.Runner  # type: ignore[attr-defined]
    prepare, run, finish = Runner.prepare, Runner.run, Runner.finish

    def hit(fault: str, batch: Any) -> list[int]:
        """The rows of chains that are where it goes wrong."""
        if FAULT != fault:
            return []
        return [
            row
            for row, chain in enumerate(batch)
            if chain.job.seed == int(NUMBER) and chain.position == AT_POSITION
        ]

    def broken_prepare(self: Any, batch: Any, lane: Any) -> Any:
        if hit("crash", batch):
            os.abort()
        if FAULT == "memory" and sum(chain.job.rows for chain in batch) > int(NUMBER):
            raise torch.OutOfMemoryError("injected")
        return prepare(self, batch, lane)

    def broken_run(self: Any, call: Any) -> Any:
        if hit("hang", call.batch):
            time.sleep(3600)
        return run(self, call)

    def broken_finish(self: Any, call: Any, out: Any) -> Any:
        rows = hit("nan", call.batch)
        if rows:
            out = out.clone()
            out[rows] = math.nan
        return finish(self, call, out)

    Runner.prepare, Runner.run, Runner.finish = broken_prepare, broken_run, broken_finish


def flatten_curve(module: ModuleType) -> None:
    """Every step takes as long as any other, so the largest batch is the one to use."""
    curve = module.LatencyCurve
    module.step_seconds = lambda _process, runner, **_: curve(  # type: ignore[attr-defined]
        dict.fromkeys(runner.batch_sizes, 1.0)
    )


def delay_threads(module: ModuleType) -> None:
    """The first step comes late, that of warm-up too."""
    LaneThreads = module.LaneThreads  # type: ignore[attr-defined]
    serve = LaneThreads.serve

    def late_serve(self: Any) -> None:
        time.sleep(float(NUMBER))
        serve(self)

    LaneThreads.serve = late_serve


CHANGES = {"app.engine.runner": break_runner}
if FAULT == "late":
    CHANGES["app.engine.lane_threads"] = delay_threads
if FAULT == "memory":
    CHANGES["app.engine.warmup"] = flatten_curve


class Finder(importlib.abc.MetaPathFinder):
    """Changes a module once it is loaded."""

    def find_spec(self, name: str, path: Any, _target: Any = None) -> Any:
        if name not in CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            CHANGES[name](module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if FAULT in ("crash", "hang", "late", "nan", "memory"):
    sys.meta_path.insert(0, Finder())
elif FAULT == "clock":
    jumps = random.Random(int(NUMBER))
    time.time = lambda: jumps.uniform(0, 4e9)
