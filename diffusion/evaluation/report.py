"""An evaluation as files: report.json, the grids as PNG, and one self-contained report.html."""

import base64
import html
import importlib.util
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffusion import pixels

Array = np.ndarray
COLUMNS = {  # of the samples' table: the row's key, and the column's title
    "sampler": "sampler:steps",
    "images": "images",
    "frechet": "Fréchet distance",
    "precision": "precision",
    "recall": "recall",
    "recognised": "recognised as their label",
    "images_per_second": "images/s",
    "processor_seconds": "CPU s",
}
ON_CARD = ("images", "frechet", "precision", "recall", "recognised")
"""The keys of a sampler's row that go on a model card."""
TIMES = (
    "images/s counts the time that elapsed, which other work on the machine lengthens. CPU s, the "
    "time that all threads of the evaluation spent on processors, is not lengthened by it, and "
    "leaves out the work of a GPU."
)
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: .3rem .8rem; border-bottom: 1px solid #8885; text-align: right; }
td:first-child, th:first-child { text-align: left; }
figure { margin: 1.5rem 0; } figcaption { opacity: .75; font-size: .9rem; }
img { image-rendering: pixelated; max-width: 100%; width: 40rem; background: #000; }
svg { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
code { overflow-wrap: anywhere; }
"""


class ReportError(ValueError):
    """A report cannot be used; the message says why."""


def check_plots() -> None:
    """Raise ReportError where matplotlib is missing: better before the work than after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ReportError(
            "report: matplotlib is not installed, which draws the plots; install the extra `train`"
        )


def read_quality(paths: Sequence[Path], sha256: str) -> dict[str, Any]:
    """Sum up a report.json for a model card; of further ones, under `more`, only their samples.

    Raises ReportError for a file that is no report, or a report of weights of another SHA-256.
    """
    first, *more = (_read_quality(path, sha256) for path in paths)
    for further in more:
        del further["bits_per_dim"]
    return {**first, "more": more} if more else first


def _read_quality(path: Path, sha256: str) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text())
        found = report["sha256"]
        quality = {
            "command": report["command"],
            "machine": report["machine"],
            "bits_per_dim": report["bound"],
            "frechet_floor": report["floor"],
            "samplers": {
                row["sampler"]: {name: row[name] for name in ON_CARD if name in row}
                for row in report["samplers"]
            },
        }
    except (OSError, KeyError, ValueError) as error:
        raise ReportError(f"{path}: not a report of `ddpm evaluate`: {error!r}") from error
    if found != sha256:
        raise ReportError(f"{path}: is of the weights {found}, not of these, {sha256}")
    return quality


def write(report: Mapping[str, Any], folder: Path) -> Path:
    """Write report.json, report.html and the pictures; return the path of the page."""
    grids: Mapping[str, Array] = report["grids"]
    numbers = {name: value for name, value in report.items() if name != "grids"}
    (folder / "report.json").write_text(json.dumps(numbers, indent=2) + "\n")
    for name, grid in grids.items():
        (folder / f"{name.replace(':', '-')}.png").write_bytes(_png(grid))
    for name, figure in plots(numbers).items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    path = folder / "report.html"
    path.write_text(page(numbers, grids))
    return path


def plots(report: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the report's plots: matplotlib figures by name."""
    by_t = report["by_timestep"]
    made = {}
    if _has_every_term(by_t):
        made = {"rate-distortion": _rate_distortion(by_t), "terms": _terms(by_t)}
    if report["samplers"]:
        made["distance-by-steps"] = _by_steps(report)
    return made


def page(report: Mapping[str, Any], grids: Mapping[str, Array]) -> str:
    """Write the report as one HTML page, which loads nothing from elsewhere."""
    name = html.escape(str(report["checkpoint"]))
    body = [
        f"<h1>{name}</h1>",
        f"<p>Weights <code>{report['sha256']}</code>, on {html.escape(report['machine'])}.</p>",
        *_bound_section(report, grids),
        *_samples_section(report, grids),
        *_neighbours_section(report, grids),
    ]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}: evaluation</title>"
        "<meta name=viewport content='width=device-width'>"
        f"<style>{STYLE}</style>\n" + "\n".join(body) + "\n</html>\n"
    )


def _bound_section(report: Mapping[str, Any], grids: Mapping[str, Array]) -> list[str]:
    names = ("images", "total", "standard_error", "prior", "denoising", "decoder")
    titles = ("split", "images", "bits/dim", "± (standard error)", "L_T", "L_1 … L_T-1", "L_0")
    rows = [(split, *(row[n] for n in names)) for split, row in report["bound"].items()]
    by_t = report["by_timestep"]
    curves = [
        _figure(_svg(_rate_distortion(by_t)), "Progressive coding: the error of x0_hat(x_t), RMSE "
                "on the 0..255 scale, against the bits/dim received by then (the paper's Fig. 5)."),
        _figure(_svg(_terms(by_t)), "Left: the term of the bound at each t. Right: the mean "
                "squared error of eps_hat (L_simple) at each t."),
    ]  # fmt: skip
    if not _has_every_term(by_t):
        curves = [
            "<p>No curves over t: so few terms of so few images leave some t without any.</p>"
        ]
    return [
        "<h2>The bound on the negative log likelihood</h2>",
        "<p>Eq. 5, given the label where the model has labels. L_T and the KL terms are the rate, "
        "L_0 the distortion.</p>",
        _table(titles, rows),
        *curves,
        _figure(_image(grids["progressive"]), _received(report)),
    ]


def _has_every_term(by_t: Mapping[str, list[float]]) -> bool:
    """Was every t drawn at least once?"""
    return all(error > 0 for error in by_t["eps_mse"])


def _received(report: Mapping[str, Any]) -> str:
    rates = report["by_timestep"]["rate"]
    states = [f"{row['t']} ({_text(rates[row['t'] - 1])})" for row in report["progressive"]]
    return (
        "Lossy compression of test images: what a receiver sees who has x_t, at t (bits/dim): "
        f"{', '.join(states)}; last, the image itself."
    )


def _samples_section(report: Mapping[str, Any], grids: Mapping[str, Array]) -> list[str]:
    samplers = report["samplers"]
    if not samplers:
        return []
    shown = [name for name in COLUMNS if name in samplers[0]]
    floor = report["floor"]
    return [
        "<h2>Samples</h2>",
        f"<p>Distances to one half of the training images, in {html.escape(report['features'])}. "
        f"The floor is that of {floor['images']} images of the other half: "
        f"<strong>{_text(floor['frechet'])}</strong>. {TIMES}</p>",
        _table([COLUMNS[n] for n in shown], [[row[n] for n in shown] for row in samplers]),
        _figure(_svg(_by_steps(report)), "Fréchet distance against the number of steps."),
        *(
            _figure(_image(grids[row["sampler"]]), f"{row['sampler']}: the first hundred samples.")
            for row in samplers
        ),
    ]


def _neighbours_section(report: Mapping[str, Any], grids: Mapping[str, Array]) -> list[str]:
    if "nearest" not in report:
        return []
    near = report["nearest"]
    return [
        "<h2>Is it memorising?</h2>",
        f"<p>RMSE to the nearest training image, on the 0..255 scale: samples "
        f"{_text(near['samples_median'])} (the least {_text(near['samples_least'])}), test images "
        f"{_text(near['test_median'])} (the least {_text(near['test_least'])}); medians of "
        f"{near['images']}. A model that copied its data would be far below the test images.</p>",
        _figure(_image(grids["nearest"]), "Samples, each above its nearest training image."),
    ]


def _table(titles: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    lines = ["".join(f"<td>{html.escape(_text(v))}</td>" for v in row) for row in rows]
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2e}" if value and abs(value) < 1e-3 else f"{value:.4g}"
    return "-" if value is None else str(value)


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _image(grid: Array) -> str:
    return f"<img alt='' src='data:image/png;base64,{base64.b64encode(_png(grid)).decode()}'>"


def _png(grid: Array) -> bytes:
    buffer = io.BytesIO()
    pixels.picture(grid).save(buffer, "PNG")
    return buffer.getvalue()


# Plots: matplotlib's figures as SVG inside the page


def _axes(columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * columns, 3.5), layout="constrained")
    return figure, figure.subplots(1, columns)


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _rate_distortion(by_t: Mapping[str, list[float]]) -> Any:
    figure, axes = _axes(1)
    axes.plot(by_t["rate"], by_t["rmse"])
    axes.set(xlabel="rate, bits/dim", ylabel="distortion, RMSE", ylim=(0, None))
    return figure


def _terms(by_t: Mapping[str, list[float]]) -> Any:
    figure, (left, right) = _axes(2)
    times = range(1, len(by_t["eps_mse"]) + 1)
    left.loglog(times, np.maximum(by_t["bits_per_dim"], 1e-12))
    left.set(xlabel="t", ylabel="bits/dim")
    right.loglog(times, by_t["eps_mse"])
    right.set(xlabel="t", ylabel="mean squared error")
    return figure


def _by_steps(report: Mapping[str, Any]) -> Any:
    figure, axes = _axes(1)
    by_name: dict[str, list[tuple[int, float]]] = {}
    for row in report["samplers"]:
        name, _, rest = row["sampler"].partition(":")
        steps, _, guidance = rest.partition("@")
        label = f"{name}, guidance {guidance}" if guidance else name
        by_name.setdefault(label, []).append((int(steps), row["frechet"]))
    for name, points in by_name.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.axhline(report["floor"]["frechet"], color="grey", linestyle=":", label="floor")
    axes.set(xlabel="steps", ylabel="Fréchet distance", xscale="log", yscale="log")
    axes.legend()
    return figure
