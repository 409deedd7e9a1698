"""What the processor of this machine can do, for tests that need it."""

import pytest
import torch

from diffusion.devices import has_bfloat16

needs_bfloat16 = pytest.mark.skipif(
    not has_bfloat16(torch.device("cpu")), reason="needs a processor that multiplies bfloat16"
)
"""Marks a test of OpenVINO in bfloat16, which it has on such processors alone."""
