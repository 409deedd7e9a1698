"""The page of an evaluation: one self-contained HTML file."""

import base64
import html
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from diffusion import pixels
from diffusion.evaluation import tables
from diffusion.evaluation.citations import bibtex
from diffusion.evaluation.plots import by_steps, has_every_term, rate_distortion, svg, terms
from diffusion.evaluation.tables import Table, number, text

Array = np.ndarray
TIMES = (
    "images/s counts the time that elapsed, which other work on the machine lengthens. CPU s, the "
    "time that all threads of the evaluation spent on processors, is not lengthened by it, and "
    "leaves out the work of a GPU."
)
PRECISIONS = (
    "The same seed, and the bound of the same images with the same draws, in both precisions. By "
    "chance: what the distances of two sets of other seeds, both in float32, differ by in 95 of "
    "100 cases. It loses nothing where it is 95% sure that the distance grows by no more than "
    "that, and that the bound differs by at most 0.002 bits/dim."
)
KINDS = {
    "disjoint": "no two of which share an image",
    "overlapping": "which share images where that half has too few for others; the deviation is "
    "corrected for what they share",
    "repeating": "which hold images more than once where that half has too few for others "
    "(bootstrapped); the deviation is corrected for what they share",
}
MIXES = {
    "balanced": "as many of each class",
    "data": "the classes as often as the data have them",
}
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; }
td, th { font-size: .92rem; padding: .3rem .5rem; border-bottom: 1px solid var(--line);
  text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th { font-weight: 600; }
td:first-child, th:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { opacity: .75; } dd { margin: 0; }
aside { border-left: 4px solid #d97706; background: var(--soft); padding: .6rem 1rem; }
aside ul { margin: .3rem 0; padding-left: 1.2rem; }
figure { margin: 1.5rem 0; } figcaption { opacity: .75; font-size: .9rem; }
img { image-rendering: pixelated; max-width: 100%; width: 40rem; background: #000; }
svg { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
code { overflow-wrap: anywhere; }
pre { background: var(--soft); padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
"""


def page(report: Mapping[str, Any], grids: Mapping[str, Array]) -> str:
    """Write the report as one HTML page, which loads nothing from elsewhere."""
    name = html.escape(str(report["checkpoint"]))
    body = [
        f"<h1>{name}: evaluation</h1>",
        *_origin(report),
        *_caveats(report),
        *_bound_section(report, grids),
        *_samples_section(report, grids),
        *_neighbours_section(report, grids),
        *_citation_section(report),
    ]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{name}: evaluation</title>"
        "<meta name=viewport content='width=device-width'>"
        f"<style>{STYLE}</style>\n" + "\n".join(body) + "\n</html>\n"
    )


def _origin(report: Mapping[str, Any]) -> list[str]:
    """What was measured, by which command and version, when and where; older reports say less."""
    data = ", ".join(f"{count:,} {split}" for split, count in report.get("data", {}).items())
    facts = {
        "command": f"<code>{html.escape(str(report['command']))}</code>",
        "date": report.get("date"),
        "version": report.get("version") and f"ddpm-service {report['version']}",
        "machine": html.escape(report["machine"]),
        "weights": f"<code>SHA-256 {report['sha256']}</code>",
        "images": data or None,
        "classes": html.escape(", ".join(report.get("classes", ()))) or None,
    }
    items = (f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    return [f"<dl>{''.join(items)}</dl>"]


def _caveats(report: Mapping[str, Any]) -> list[str]:
    found = report.get("warnings")
    if not found:
        return []
    items = "".join(f"<li>{html.escape(each)}</li>" for each in found)
    return [
        f"<aside role=note><strong>Before you believe the numbers</strong><ul>{items}</ul></aside>"
    ]


def _bound_section(report: Mapping[str, Any], grids: Mapping[str, Array]) -> list[str]:
    split = report.get("curves_of", "test")
    return [
        "<h2>The bound on the negative log likelihood</h2>",
        "<p>Eq. 5, given the label where model and data have labels. L_T and the KL terms are the "
        "rate, L_0 the distortion. ± is the standard error of the mean: it counts how the images, "
        "chosen at random, differ, and how their draws of t and x_t do.</p>",
        _table(tables.bound(report)),
        *_estimators(report),
        *_curves(report["by_timestep"], split),
        _figure(_image(grids["progressive"]), _received(report, split)),
    ]


def _curves(by_t: Mapping[str, Any], split: str) -> list[str]:
    """The curves over t, or why there are none."""
    if not has_every_term(by_t):
        return ["<p>No curves over t: so few terms of so few images leave some t without any.</p>"]
    return [
        _figure(svg(rate_distortion(by_t)), "Progressive coding: the error of x0_hat(x_t), RMSE "
                "on the 0..255 scale, against the bits/dim received by then (the paper's Fig. 5), "
                f"of {_images_of(split)}."),
        _figure(svg(terms(by_t)), "Left: the term of the bound at each t. Right: the mean "
                f"squared error of eps_hat (L_simple) at each t. Of {_images_of(split)}."),
    ]  # fmt: skip


def _estimators(report: Mapping[str, Any]) -> list[str]:
    table = tables.estimators(report)
    if table is None:
        return []
    found = report["estimators"]
    errors = (
        abs(found["difference"]) / found["difference_error"] if found["difference_error"] else 0
    )
    return [
        "<p>A few terms of each image, drawn at random, estimate the same bound as all of them. On "
        f"the same images the two differ by {errors:.1f} standard errors.</p>",
        _table(table),
    ]


def _images_of(split: str) -> str:
    return "test images" if split == "test" else "training images"


def _received(report: Mapping[str, Any], split: str) -> str:
    rates = report["by_timestep"]["rate"]
    states = [f"{row['t']} ({number(rates[row['t'] - 1])})" for row in report["progressive"]]
    return (
        f"Lossy compression of {_images_of(split)}: what a receiver sees who has x_t, at t "
        f"(bits/dim): {', '.join(states)}; last, the image itself."
    )


def _samples_section(report: Mapping[str, Any], grids: Mapping[str, Array]) -> list[str]:
    samplers = report["samplers"]
    if not samplers:
        return []
    by_class = tables.by_class(report)
    return [
        "<h2>Samples</h2>",
        f"<p>{_floor(report)}</p>",
        f"<p>{accuracy(report)}</p>",
        _table(tables.samples(report)),
        _figure(svg(by_steps(report)), "Fréchet distance against the number of steps."),
        *(
            _figure(_image(grids[row["sampler"]]), f"{row['sampler']}: {_shown(report)}.")
            for row in samplers
        ),
        *([] if by_class is None else [f"<h3>{by_class.title}</h3>", _table(by_class)]),
        *_precisions(report),
        f"<h3>Time</h3><p>{TIMES}</p>",
        _table(tables.times(report)),
    ]


def _precisions(report: Mapping[str, Any]) -> list[str]:
    table = tables.precisions(report)
    return [] if table is None else [f"<h3>{table.title}</h3><p>{PRECISIONS}</p>", _table(table)]


def _floor(report: Mapping[str, Any]) -> str:
    """What the distances, and the floor, are of."""
    floor, features = report["floor"], html.escape(report["features"])
    start = f"Distances to one half of the training images, in {features}."
    if "draws" not in floor:  # a report of an older version
        return f"{start} The floor is that of {floor['images']} images of the other half."
    return (
        f"{start} The floor is what samples as good as new data would score: mean ± deviation of "
        f"{floor['draws']} sets of {floor['images']} real images of the other half, "
        f"{KINDS[floor['kind']]}. Samples and sets have the same labels, "
        f"{MIXES[floor['labels']]}. In brackets: 95% intervals (bootstrap for the distance, Wilson "
        "for shares). The distance falls with the number of images; that for N → ∞ is "
        "extrapolated (FID_infinity; Chong &amp; Forsyth 2020), and for real images 0, but for "
        "another mix of classes than the data's."
    )


def accuracy(report: Mapping[str, Any]) -> str:
    """How well the classifier recognises images that it was not trained on."""
    found = report.get("classifier")
    if not found:
        return ""
    of = {
        "test": f"{found['images']:,} test images",
        "train, held out": f"{found['images']} training images that were held out",
    }.get(found["of"], "the images that its own card tells of")
    return f"The classifier recognises {found['accuracy']:.2%} of {of}."


def _shown(report: Mapping[str, Any]) -> str:
    if report.get("date") and len(report["classes"]) > 1:
        return "a row for each class, not selected"
    return "the first samples, not selected"


def _neighbours_section(report: Mapping[str, Any], grids: Mapping[str, Array]) -> list[str]:
    if "nearest" not in report:
        return []
    near = report["nearest"]
    found = (
        "RMSE to the nearest training image, on the 0..255 scale: samples "
        f"{number(near['samples_median'])} (the least {number(near['samples_least'])})"
    )
    if "test_median" in near:
        found += (
            f", test images {number(near['test_median'])} (the least "
            f"{number(near['test_least'])}); medians of {near['images']} samples and "
            f"{near['test_images']} test images. {near['copies']:.1%} of the samples count as "
            "copies: they are nearer to a training image than 95% of the test images are. Of new "
            "images, 5% would be."
        )
    else:
        found += f"; median of {near['images']}. There are no test images to compare with."
    return [
        "<h2>Is it memorising?</h2>",
        f"<p>{found}</p>",
        _figure(_image(grids["nearest"]), "Samples, each above its nearest training image."),
    ]


def _citation_section(report: Mapping[str, Any]) -> list[str]:
    if "version" not in report:
        return []
    return [
        "<h2>How to cite</h2>",
        "<p>The project, and the papers of the measures. The tables are in <code>report.tex</code> "
        "and <code>report.csv</code>, these entries in <code>report.bib</code>.</p>",
        f"<pre>{html.escape(bibtex(report))}</pre>",
    ]


def _table(table: Table) -> str:
    def line(tag: str, cells: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    rows = (line("td", map(text, row)) for row in table.rows)
    return f"<table>{line('th', table.columns)}{''.join(rows)}</table>"


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _image(grid: Array) -> str:
    return f"<img alt='' src='data:image/png;base64,{base64.b64encode(png(grid)).decode()}'>"


def png(grid: Array) -> bytes:
    buffer = io.BytesIO()
    pixels.picture(grid).save(buffer, "PNG")
    return buffer.getvalue()
