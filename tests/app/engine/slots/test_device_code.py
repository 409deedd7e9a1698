"""What a GPU is given: operations that round once each, and the very constants of
`diffusion.exact_math`. No GPU is needed to compile for one."""

import json
import math
import os
import struct
import subprocess
import sys
from typing import Any

import pytest

from diffusion import exact_math

pytest.importorskip("triton", reason="needs Triton")


def compiled(how: str) -> dict[str, Any]:
    """What compile_kernels prints."""
    command = [sys.executable, "-m", "tests.app.engine.slots.compile_kernels", how]
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    done = subprocess.run(command, capture_output=True, check=True, env=environment, timeout=120)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_no_operation_is_fused_flushed_or_approximate() -> None:
    operations = set(compiled("separate")["operations"])
    assert {"add.rn.f32", "mul.rn.f32", "div.rn.f32", "sqrt.rn.f64"} <= operations
    assert all(".rn." in name for name in operations), operations
    assert not any("fma" in name or "ftz" in name or "approx" in name for name in operations)


def test_allowed_to_fuse_it_would() -> None:
    assert any("fma" in name for name in compiled("fused")["operations"]), "or this tests nothing"


def test_the_constants_are_those_of_the_reference_to_the_bit() -> None:
    constants = {value.upper() for value in compiled("separate")["constants"]}
    expected = [
        math.log(2), math.sqrt(0.5), 2 * math.pi * 2.0**-32, 2.0**-32,
        exact_math.LOG_2_HIGH, exact_math.LOG_2_LOW,
        *exact_math.LOG_SERIES, *exact_math.EXP_SERIES,
        *exact_math.COS_SERIES, *exact_math.SIN_SERIES,
    ]  # fmt: skip
    sign = 1 << 63  # LLVM subtracts c for adding -c
    bits = [struct.unpack(">Q", struct.pack(">d", value))[0] for value in expected]
    missing = [b for b in bits if {f"{b:016X}", f"{b ^ sign:016X}"}.isdisjoint(constants)]
    assert not missing
