"""A run's log as a picture, loss.png, which is drawn anew whenever training stops."""

import contextlib
import json
from pathlib import Path

from diffusion.training.meter import QUARTILES


def read_log(run: Path) -> dict[int, dict[str, float]]:
    """Read the scalars of a run's log.jsonl, by step.

    A resumed run logs again the steps since its last state; the newer line counts. A line that a
    killed process left unfinished is passed over.
    """
    entries: dict[int, dict[str, float]] = {}
    for line in (run / "log.jsonl").read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            entry = json.loads(line)
            entries[entry.pop("step")] = entry
    return dict(sorted(entries.items()))


def draw_losses(run: Path) -> Path:
    """Draw the loss that is minimised, and L_simple by quarter of t, to loss.png in a run's folder.

    Raises ImportError where matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    log = read_log(run)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    tags = {"loss": "loss"}
    for q in range(1, QUARTILES + 1):
        tags[f"loss_by_t/quartile_{q}"] = f"L_simple, quarter {q} of t"
    for tag, label in tags.items():
        known = {step: scalars[tag] for step, scalars in log.items() if tag in scalars}
        axes.plot(list(known), list(known.values()), label=label)
    axes.set(xlabel="step", ylabel="mean since the last point", yscale="log")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(run / "loss.png", dpi=120)
    return run / "loss.png"
