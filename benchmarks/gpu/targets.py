"""What the GPU runtime is to reach, each beside what a session measured."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.gpu.results import Results
from benchmarks.tables import Cell, cell_text, markdown

CASES = "network", "runtime", "precision"
WAITS = "not measured yet"


@dataclass(frozen=True)
class Target:
    """`value` finds what was measured, None where nothing was; `shown` writes it."""

    what: str
    wanted: str
    value: Callable[[Results], float | None]
    holds: Callable[[float], bool]
    shown: Callable[[float], str] = cell_text

    def row(self, results: Results) -> list[Cell]:
        """Its line in the table."""
        value = self.value(results)
        if value is None:
            return [self.what, self.wanted, WAITS, ""]
        return [self.what, self.wanted, self.shown(value), "yes" if self.holds(value) else "no"]


def targets(results: Results) -> str:
    """A table with a line for each target."""
    rows = [target.row(results) for target in TARGETS]
    return f"### Targets\n\n{markdown(['', 'target', 'measured', 'holds'], rows)}"


def percent(share: float) -> str:
    """As it is shown."""
    return f"{share:.1%}"


def peak_share(results: Results) -> float | None:
    """Of the engine's best."""
    peak, best = (
        results.peak("bfloat16"),
        results.best("engine", "flops_per_second", network="paper"),
    )
    return None if peak is None or best is None else best / peak


def over_diffusers(results: Results) -> float | None:
    """Both at their best batch size."""
    return ratio(
        results.best("engine", "image_steps_per_second", network="paper"),
        results.best("peer", "image_steps_per_second", contender="diffusers-compiled"),
    )


def over_diffusers_alone(results: Results) -> float | None:
    """Both with one image."""
    return ratio(
        results.best("engine", "image_steps_per_second", network="paper", chains=1),
        results.best("peer", "image_steps_per_second", contender="diffusers-compiled", size=1),
    )


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """Ours over theirs, where both were measured."""
    return None if ours is None or theirs is None else ours / theirs


def of_long_chains(results: Results) -> float | None:
    """The least seconds of all runtimes; a prediction counts as not measured."""
    seconds = [
        r["seconds"] for r in results.latest("long", CASES)
        if r["network"] == "paper" and r["measured"]
    ]  # fmt: skip
    return min(seconds, default=None)


def share_of_bare(results: Results, steps: int) -> float | None:
    """The best runtime's."""
    return results.best("bare", "share", network="paper", steps=steps)


def beside_alone(results: Results) -> float | None:
    """Over HTTP, where that was measured, and else without it."""
    found = results.latest("http-beside") or results.latest("joiner", CASES)
    ratios = [ratio(r["beside_p95"], r["alone_p95"]) for r in found if r["large"] == 256]
    return min((value for value in ratios if value is not None), default=None)


TARGETS = (
    Target(
        "the paper's network, bfloat16: share of the matrix peak at the best batch",
        "at least 40%", peak_share, lambda v: v >= 0.4, percent,
    ),
    Target(
        "the paper's network: times the image-steps/s of diffusers' compiled DDIMPipeline, each at "
        "its best batch", "at least 3", over_diffusers, lambda v: v >= 3,
    ),
    Target("the same for one image", "at least 10", over_diffusers_alone, lambda v: v >= 10),
    Target(
        "the paper's network: 256 images of 1000 steps", "under 15 s", of_long_chains,
        lambda v: v < 15, lambda v: f"{cell_text(v)} s",
    ),
    Target(
        "models/mnist over HTTP, image-steps/s", "150,000",
        lambda results: results.best("http", "image_steps_per_second", network="mnist"),
        lambda v: v >= 150_000,
        lambda v: f"{v:,.0f}",
    ),
    Target(
        "the paper's network: the engine's share of its own bare loop, 50 steps an image",
        "at least 95%", partial(share_of_bare, steps=50), lambda v: v >= 0.95, percent,
    ),
    Target(
        "the same, 1000 steps", "at least 95%", partial(share_of_bare, steps=1000),
        lambda v: v >= 0.95, percent,
    ),
    Target(
        "p95 of one image beside requests for 256, over that alone", "at most 2", beside_alone,
        lambda v: v <= 2,
    ),
)  # fmt: skip
