"""Finished pieces of a long computation are made once, and only for the same computation."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from diffusion.evaluation.cache import EvaluationError, Parts

KEY = {"seed": 0, "samplers": ("ddim:4",)}


def test_a_part_is_made_once_and_then_read(tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> Mapping[str, np.ndarray]:
        made.append("made")
        return {"x": np.arange(3), "seconds": np.array(1.5)}

    first = Parts(tmp_path, KEY).get("a", make)
    again = Parts(tmp_path, KEY).get("a", make)
    assert made == ["made"]
    np.testing.assert_array_equal(first["x"], again["x"])
    assert float(again["seconds"]) == 1.5


def test_a_part_that_was_not_finished_is_made_again(tmp_path: Path) -> None:
    def interrupted() -> Mapping[str, np.ndarray]:
        raise KeyboardInterrupt

    parts = Parts(tmp_path, KEY)
    with pytest.raises(KeyboardInterrupt):
        parts.get("a", interrupted)
    (tmp_path / "a.partial.npz").write_bytes(b"half of an archive")
    np.testing.assert_array_equal(parts.get("a", lambda: {"x": np.arange(3)})["x"], [0, 1, 2])
    assert not (tmp_path / "a.partial.npz").exists()


def test_a_folder_with_parts_of_another_computation_is_refused(tmp_path: Path) -> None:
    Parts(tmp_path, KEY)
    with pytest.raises(EvaluationError, match="holds an evaluation with seed = 0, not 1"):
        Parts(tmp_path, {**KEY, "seed": 1})


def test_what_an_older_version_did_not_write_is_what_it_did(tmp_path: Path) -> None:
    Parts(tmp_path, KEY)
    older = {"labels": "balanced"}
    Parts(tmp_path, {**KEY, "labels": "balanced"}, older)
    with pytest.raises(EvaluationError, match="with labels = 'balanced', not 'data'"):
        Parts(tmp_path, {**KEY, "labels": "data"}, older)
