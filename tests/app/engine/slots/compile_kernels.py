"""Compiles the kernels for an H100, which needs none: prints the operations and the 64-bit
constants of their PTX as JSON. In a process of its own: there Triton must not interpret."""

import json
import re
import sys
from collections import Counter
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from app.engine.slots import device_code

FLOATS = ("x", "past", "ring", "known", "plan", "x_in", "out")
TYPES = {
    **dict.fromkeys(FLOATS, "*fp32"),
    **dict.fromkeys(("rows", "t", "places", "clock", "t_in", "label_in"), "*i64"),
    "bad": "*i1",
    "B": "i32",
    "D": "i32",
}
CONSTANTS = {"HAS_CLIP": True, "HAS_V": True, "HAS_LABEL": True, "BLOCK": 128}


def ptx(kernel: Any, *, may_fuse: bool) -> str:
    """The kernel's code for compute capability 9.0."""
    names = kernel.arg_names
    source = ASTSource(
        fn=kernel,
        signature={name: TYPES.get(name, "constexpr") for name in names},
        constexprs={(names.index(n),): value for n, value in CONSTANTS.items() if n in names},
    )
    made = triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": may_fuse}
    )
    text: str = made.asm["ptx"]
    return text


if __name__ == "__main__":
    code = "".join(
        ptx(kernel, may_fuse=sys.argv[1] == "fused")
        for kernel in (device_code.enter, device_code.leave)
    )
    operations = re.findall(r"\b((?:fma|mad|add|sub|mul|div|sqrt)\.[a-z.]*f(?:32|64))", code)
    constants = sorted(set(re.findall(r"\b0d([0-9A-Fa-f]{16})", code)))
    print(json.dumps({"operations": Counter(operations), "constants": constants}))
