"""Layers that OpenVINO computes in float32 though the rest of the network is in bfloat16.

Its Python interface has no function for that, but its file format has an attribute: `precise`, in
what a file knows of a layer for the run time.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # nosec B405 - of what OpenVINO has just written

CONVOLUTION = "Convolution"
SOURCES = ("Parameter", "Constant")
EXACT_CONVOLUTIONS = 2
"""How many convolutions, from x_t on, stay float32."""


def keep_first_layers(graph: Any) -> Any:
    """Return the graph with its first two convolutions, and the norms and activations after each,
    marked to stay float32.

    x_t with little noise, rounded to bfloat16, would lose the noise that is to be predicted, and so
    would the features that the first layers make of it. Of models/mnist that is most of what
    bfloat16 adds to the bound, for next to none of the time.
    """
    convolutions = [node for node in graph.get_ordered_ops() if node.get_type_name() == CONVOLUTION]
    if len(convolutions) <= EXACT_CONVOLUTIONS:
        return graph
    before = convolutions[EXACT_CONVOLUTIONS].input_value(0).get_node()
    return _marked(graph, {node.get_friendly_name() for node in _up_from(before)})


def _up_from(node: Any) -> Iterator[Any]:
    """A node and all that it is computed from, but for inputs and weights."""
    found, left = set(), [node]
    while left:
        node = left.pop()
        name = node.get_friendly_name()
        if name in found or node.get_type_name() in SOURCES:
            continue
        found.add(name)
        yield node
        left += [source.get_source_output().get_node() for source in node.inputs()]


def _marked(graph: Any, names: set[str]) -> Any:
    """The graph with the attribute on the layers of these names, by way of a file."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.xml")
        openvino.save_model(graph, path, compress_to_fp16=False)
        tree = ElementTree.parse(path)  # nosec B314
        weights = path.with_suffix(".bin").read_bytes()
    for layer in tree.iterfind("layers/layer"):
        if layer.get("name") in names:
            known = layer.find("rt_info")
            if known is None:
                known = ElementTree.Element("rt_info")
                data = layer.find("data")  # what the format has before it
                layer.insert(0 if data is None else 1, known)
            ElementTree.SubElement(known, "attribute", name="precise", version="0")
    text = ElementTree.tostring(tree.getroot())
    return openvino.Core().read_model(model=text, weights=weights)
