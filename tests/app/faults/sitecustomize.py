"""Faults for a real engine process: Python imports this at start where PYTHONPATH leads here.

FAULT names what goes wrong, and with what number: `crash=SEED`, `nan=SEED`, `memory=ROWS`,
`clock=SEED`. Nothing of the service knows of it.
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
    """Wrap the two halves of a step of `app.engine.runner.Runner`."""
    import torch

    begin, finish = module.Runner.begin, module.Runner.finish  # type: ignore[attr-defined]

    def hit(runner: Any, chain: Any) -> bool:
        return runner.jobs[chain.job.id].seed == int(NUMBER) and chain.position == AT_POSITION

    def broken_begin(self: Any, batch: Any, lane: Any) -> Any:
        if FAULT == "crash" and any(hit(self, chain) for chain in batch):
            os.abort()
        if FAULT == "memory" and sum(chain.job.rows for chain in batch) > int(NUMBER):
            raise torch.OutOfMemoryError("injected")
        return begin(self, batch, lane)

    def broken_finish(self: Any, call: Any, out: Any) -> Any:
        if FAULT == "nan":
            out = out.clone()
            for row, chain in enumerate(call.batch):
                if hit(self, chain):
                    out[row] = math.nan
        return finish(self, call, out)

    module.Runner.begin = broken_begin  # type: ignore[attr-defined]
    module.Runner.finish = broken_finish  # type: ignore[attr-defined]


def flatten_curve(module: ModuleType) -> None:
    """Every step takes as long as any other, so the largest batch is the one to use."""
    curve = module.LatencyCurve
    module.step_seconds = lambda _process, runner, **_: curve(  # type: ignore[attr-defined]
        dict.fromkeys(runner.batch_sizes, 1.0)
    )


CHANGES = {"app.engine.runner": break_runner}
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


if FAULT in ("crash", "nan", "memory"):
    sys.meta_path.insert(0, Finder())
elif FAULT == "clock":
    jumps = random.Random(int(NUMBER))
    time.time = lambda: jumps.uniform(0, 4e9)
