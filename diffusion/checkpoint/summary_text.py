"""The facts of `diffusion.checkpoint.summary` as text for a person."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 12
"""Characters of the first column."""
SHOWN = 12
"""Class names, and files, that are printed."""

Facts = Mapping[str, Any]
Line = tuple[str, str]
"""What it is about, and what there is to say; the first is empty where it goes on."""


def as_text(facts: Facts) -> str:
    """Write the facts of a checkpoint, one a line, and then what can be done with it."""
    lines = _usable(facts) if facts["usable"] else _refused(facts)
    return "\n".join(f"{about:<{WIDTH}} {_printable(text)}".rstrip() for about, text in lines)


def _printable(text: str) -> str:
    """A text of strangers without what would move a terminal's cursor."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _usable(facts: Facts) -> Iterator[Line]:
    network, weights, origin = facts["network"], facts["weights"], facts["origin"]
    yield "checkpoint", f"{facts['name']}, in {facts['folder']}"
    yield "network", f"{network['kind']}, {network['parameters']:,} parameters"
    C, H, W = network["image_shape"]
    yield "images", f"{W} x {H} pixels, {C} channel{'s' if C > 1 else ''}"
    yield from _process(facts["process"])
    yield "labels", _labels(facts["labels"])
    variant = f", variant {weights['variant']}" if weights["variant"] else ""
    size = f"{_bytes(weights['bytes'])} of {', '.join(weights['types'])}"
    yield "weights", f"{_listed(weights['files'])}: {size}{variant}"
    yield "sha256", weights["sha256"]
    yield "saved as", _classes(facts["classes"])
    for about, name in (("trained on", "data"), ("licence", "license"), ("made by", "command")):
        if origin[name]:
            yield about, origin[name]
    for name, value in origin["source"].items():
        yield "from", f"{name}: {_given(value)}"
    for note in facts["notes"]:
        yield "note", note
    yield "", ""
    for use, how in facts["uses"].items():
        yield use, f"yes: {how['command']}" if how["possible"] else f"no: {how['why']}"
        if "samplers" in how:
            yield "", f"by {', '.join(how['samplers'])}"


def _given(value: Any) -> str:
    """Flags as NAME=VALUE, without those that were not given; anything else as it is."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name}={of}" for name, of in value.items() if of is not None)


def _process(process: Facts) -> Iterator[Line]:
    yield "predicts", process["prediction"]
    first, last = process["beta_first"], process["beta_last"]
    yield (
        "schedule",
        f"{process['schedule']}, T = {process['num_timesteps']}, beta {first:.3g} to {last:.3g}, "
        f"alpha_bar_T = {process['alpha_bar_T']:.3g}",
    )
    clip = process["clip"]
    clipped = "x_0_hat is not clipped" if clip is None else f"x_0_hat within +-{clip:g}"
    yield "variance", f"{process['variance']}; {clipped}"


def _labels(labels: Facts) -> str:
    if not labels["names"]:
        return "none: the network is unconditional"
    null = labels["null_label"]
    guided = "without a null label, so not guided" if null is None else f"null label {null}"
    return f"{len(labels['names'])}: {_listed(labels['names'])}; {guided}"


def _refused(facts: Facts) -> Iterator[Line]:
    yield "checkpoint", facts["folder"]
    yield "saved as", _classes(facts["classes"])
    yield "", ""
    yield "refused", facts["reason"]
    if facts["remedy"]:
        yield "remedy", facts["remedy"]


def _classes(classes: Facts) -> str:
    """The class names that a folder gives."""
    named = [name for name in classes.values() if name]
    return ", ".join(named) or "no class names"


def _listed(names: Sequence[str]) -> str:
    more = f", … ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _bytes(count: int) -> str:
    """A size as people read it."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{count} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
