"""Layers that OpenVINO computes in float32 though the rest of the network is in bfloat16.

Its Python interface has no function for that, but its file format has an attribute: `precise`, in
what a file knows of a layer for the run time. Once read, it can be given to any layer.
"""

from collections.abc import Iterator
from typing import Any

CONVOLUTION = "Convolution"
SOURCES = ("Parameter", "Constant")
EXACT_CONVOLUTIONS = 2
"""How many convolutions, from x_t on, stay float32."""
PRECISE = b"""<net version="11">
  <layers>
    <layer id="0" name="x" type="Parameter" version="opset1">
      <data shape="1" element_type="f32"/>
      <rt_info><attribute name="precise" version="0"/></rt_info>
      <output><port id="0" precision="FP32"><dim>1</dim></port></output>
    </layer>
    <layer id="1" name="y" type="Result" version="opset1">
      <input><port id="0" precision="FP32"><dim>1</dim></port></input>
    </layer>
  </layers>
  <edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges>
</net>"""
"""A graph whose input has the attribute, as a file."""


def keep_first_layers(graph: Any) -> None:
    """Mark the first two convolutions of a graph, and the norms and activations after each, to stay
    float32.

    x_t with little noise, rounded to bfloat16, would lose the noise that is to be predicted, and so
    would the features that the first layers make of it. Of models/mnist that is most of what
    bfloat16 adds to the bound, for next to none of the time.
    """
    convolutions = [node for node in graph.get_ordered_ops() if node.get_type_name() == CONVOLUTION]
    if len(convolutions) <= EXACT_CONVOLUTIONS:
        return
    precise = _precise_layer()  # it is to live as long as its attribute is used
    ((name, attribute),) = precise.get_rt_info().items()
    for node in _up_from(convolutions[EXACT_CONVOLUTIONS].input_value(0).get_node()):
        node.set_rt_info(attribute, name)


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


def _precise_layer() -> Any:
    """A layer that has the attribute."""
    import openvino

    (layer,) = openvino.Core().read_model(model=PRECISE).get_parameters()
    return layer
