"""How a compiled network is run."""

import openvino
import pytest
import torch

from diffusion.openvino.part import Network, Part


@pytest.fixture(scope="module")
def relu() -> Network:
    x = openvino.opset15.parameter([2], name="x")
    model = openvino.Model([openvino.opset15.relu(x)], [x])
    return Network(openvino.compile_model(model, "CPU", {"NUM_STREAMS": 2}))


def test_parts_have_buffers_of_their_own_and_run_at_once(relu: Network) -> None:
    parts = [Part(relu), Part(relu)]
    for sign, part in zip((1, -1), parts, strict=True):
        part.fill([torch.tensor([-1.0, 2.0]) * sign])
    parts[1].start()
    parts[0].run()
    parts[1].wait()
    assert [part.output.tolist() for part in parts] == [[0.0, 2.0], [1.0, 0.0]]
    parts[0].run()
    assert parts[0].output.tolist() == [0.0, 2.0], "the inputs are still there"


def test_a_part_takes_as_many_inputs_as_its_network_has(relu: Network) -> None:
    with pytest.raises(ValueError, match="shorter|longer"):
        Part(relu).fill([])
