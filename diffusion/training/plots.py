"""A run's log as a picture, loss.png, which is drawn anew whenever training stops."""

from pathlib import Path

from diffusion.training.meter import QUARTILES
from diffusion.training.run_log import read_log


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
