"""The loop that an engine is compared with."""

from pathlib import Path

import pytest

from benchmarks.bare_loop import BareLoop
from tests.tiny import save_tiny


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["eager", "openvino"])
def test_the_bare_loop_runs_the_engines_runtime(runtime: str, tmp_path: Path) -> None:
    checkpoint = save_tiny(tmp_path / "tiny", num_classes=3)
    bare = BareLoop(str(checkpoint), runtime, "cpu", 2, [4, 8])
    for size in (2, 4):
        for has_update in (False, True):
            assert bare.seconds(size, 0.01, has_update=has_update) > 0
