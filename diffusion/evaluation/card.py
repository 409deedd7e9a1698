"""What an evaluation measured, summed up for a checkpoint's model card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusion.evaluation.plan import Sampler
from diffusion.recommendation import choose
from diffusion.tuned import Tuned, has_list

ON_CARD = (
    "images", "frechet", "frechet_interval", "frechet_infinity", "precision", "recall",
    "recognised", "recognised_interval",
)  # fmt: skip
"""The keys of a sampler's row that go on a model card."""
ALSO_ON_CARD = ("version", "date", "features", "estimators", "classifier", "warnings")
"""Further keys of a report that go there; older versions had none of them."""

ORIGIN = ("command", "machine", "version", "date", "features")
"""The keys of a report that say where what it tells of precisions comes from."""


class ReportError(ValueError):
    """A report cannot be used; the message says why."""


def read_quality(paths: Sequence[Path], sha256: str) -> dict[str, Any]:
    """Sum up a report.json for a model card; of further ones, under `more`, only their samples.

    Reports of `ddpm evaluate --precisions` are left out; nothing where there are no others. Raises
    ReportError for a file that is no report, or a report of weights of another SHA-256.
    """
    reports = [report for path in paths if "precisions" not in (report := _read(path, sha256))]
    first, *more = map(_quality, reports) if reports else ({},)
    for further in more:
        for name in ("bits_per_dim", "estimators"):
            further.pop(name, None)
    return {**first, "more": more} if more else first


def read_precisions(paths: Sequence[Path], sha256: str) -> dict[str, Any]:
    """Return what reports of `ddpm evaluate --precisions` tell, for a model card: by the precision.

    Raises ReportError as `read_quality` does.
    """
    found = {}
    for report in (_read(path, sha256) for path in paths):
        for name, measured in report.get("precisions", {}).items():
            found[name] = {**measured, **{key: report[key] for key in ORIGIN}}
    return found


def _quality(report: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": report["command"],
        "machine": report["machine"],
        "bits_per_dim": report["bound"],
        **{name: report[name] for name in ALSO_ON_CARD if report.get(name)},
        "frechet_floor": report["floor"],
        "samplers": {
            row["sampler"]: {name: row[name] for name in ON_CARD if name in row}
            for row in report["samplers"]
        },
    }


def _read(path: Path, sha256: str) -> dict[str, Any]:
    """A report, with the keys that those of all versions have, of the weights of that SHA-256."""
    try:
        report: dict[str, Any] = json.loads(path.read_text())
        found, _ = report["sha256"], [row["sampler"] for row in report["samplers"]]
        for name in ("command", "machine", "bound", "floor"):
            report[name]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ReportError(f"{path}: not a report of `ddpm evaluate`: {error!r}") from error
    if found != sha256:
        raise ReportError(f"{path}: is of the weights {found}, not of these, {sha256}")
    return report


def recommend(quality: Mapping[str, Any], tuned: Tuned, num_timesteps: int) -> dict[str, Any]:
    """Choose what a card with this quality and these tuned lists recommends, by the rule of
    `diffusion.recommendation`; {} where too little was measured."""
    rows = []
    for part in (quality, *quality.get("more", ())):
        for text, row in part["samplers"].items():
            sampler = Sampler.parse(text, num_timesteps)
            if sampler.spacing == "tuned" and not has_list(tuned, sampler.name, sampler.num_steps):
                continue  # it was measured with lists that this card does not have
            frechet = row["frechet"]
            asked = {"name": sampler.name, "steps": sampler.num_steps, "spacing": sampler.spacing}
            rows.append({
                **asked, "guidance": sampler.guidance, "images": row["images"], "frechet": frechet,
                "frechet_interval": row.get("frechet_interval", [frechet, frechet]),
            })  # fmt: skip
    return choose(rows)
